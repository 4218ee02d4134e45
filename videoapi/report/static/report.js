"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");
  const PRINT_WIDTH = 690;
  const PRINT_SCALE = 0.8;
  const HEAT = {
    light: [[0, "#eef3f8"], [0.25, "#a9cfe6"], [0.5, "#4f9fce"], [0.75, "#0072b2"], [1, "#00324f"]],
    dark: [[0, "#1c2430"], [0.25, "#17476a"], [0.5, "#1f79b3"], [0.75, "#56b4e9"], [1, "#d9f0ff"]],
  };
  let printing = false;
  root.classList.add("scripted");

  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // The colours of a figure are names, such as "@users".
  const themed = (value) => {
    if (value === "@heat") return HEAT[dark.matches && !printing ? "dark" : "light"];
    if (typeof value === "string" && value[0] === "@" && /^@[a-z]+$/.test(value)) return color(value.slice(1));
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, TEXTS.has(key) ? one : themed(one)]));
    }
    return value;
  };
  // What comes from the service is never the name of a colour.
  const TEXTS = new Set(["customdata", "ticktext", "x", "y", "z", "name"]);

  const layout = (figure, width) => {
    const text = color("text");
    const line = color("line");
    const made = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      hoverlabel: { bgcolor: color("panel"), bordercolor: color("strong"), font: { color: text } },
      dragmode: false,
      ...themed(figure.layout),
      width,
      height: Math.round(figure.layout.height * (printing ? PRINT_SCALE : 1)),
    };
    for (const axis of Object.keys(made).filter((key) => /^[xy]axis/.test(key))) {
      made[axis] = { gridcolor: line, linecolor: line, tickcolor: line, ...made[axis] };
    }
    return made;
  };

  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const figure = figures[place.dataset.chart];
      const width = printing ? PRINT_WIDTH : Math.max(240, Math.floor(place.clientWidth));
      Plotly.react(place, themed(figure.data), layout(figure, width), { displayModeBar: false, displaylogo: false });
    }
  };

  const printed = (on) => {
    if (on !== printing) {
      printing = on;
      // Before printing, the style sheet for paper does not apply yet.
      root.classList.toggle("printing", on);
      draw();
    }
  };

  const valueOf = (cell) => {
    const raw = cell.dataset.value;
    return raw === undefined ? cell.textContent : raw === "" ? null : Number(raw);
  };

  const compare = (one, other) => {
    if (one === null || other === null) return 0;
    return typeof one === "number" ? one - other : one.localeCompare(other, undefined, { numeric: true });
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers begin with the largest.
        const numeric = typeof valueOf(table.tBodies[0].rows[0]?.cells[place] ?? head) === "number";
        const before = head.getAttribute("aria-sort");
        const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[place]), row]);
        // Rows without a value are last in either order.
        rows.sort(([one], [other]) => (one === null) - (other === null) || sign * compare(one, other));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  };

  // A spreadsheet evaluates cells with these beginnings. Different texts are different cells, as in an export.
  const safe = (text) => (/^'*[=+\-@\t\r\n]/.test(text) && !/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const cellText = (cell) => quoted(cell.dataset.value ?? safe(cell.textContent));

  const withCsv = (table) => {
    const lines = [...table.rows].map((row) => [...row.cells].map(cellText).join(","));
    const link = document.createElement("a");
    link.className = "csv";
    link.download = `${document.body.dataset.name}-${table.id}.csv`;
    // With a byte order mark, which Excel needs.
    link.href = URL.createObjectURL(new Blob(["\ufeff", lines.join("\r\n"), "\r\n"], { type: "text/csv;charset=utf-8" }));
    link.textContent = `Download “${table.caption.textContent}” as CSV`;
    table.closest(".scroll").after(link);
  };

  for (const table of document.querySelectorAll("table")) {
    withCsv(table);
    sortable(table);
  }
  draw();
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => printing || draw());
  });
  dark.addEventListener("change", draw);
  print.addEventListener("change", (event) => printed(event.matches));
  addEventListener("beforeprint", () => printed(true));
  addEventListener("afterprint", () => printed(false));
})();
