"""Usage reports: call records added up per day, hour, room and owner, and the page that shows it.

Independent of the client, HTTP and the event loop: rows go in, whatever they come from, and figures or a page come out.
"""
