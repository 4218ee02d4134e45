from .answers import Answer


class Files:
    def __init__(self, *a):
        pass

    def answer(self, path, headers):
        return Answer(b"{}")
