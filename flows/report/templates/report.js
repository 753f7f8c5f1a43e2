// The report's table: unpack the columns, filter, sort, page, unfold. Everything is written as text, so no title can become markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  for (const node of document.querySelectorAll(".needs-script")) node.hidden = false;

  // -- light and dark ---------------------------------------------------------------------------------------------------
  const theme = $("theme"), root = document.documentElement;
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`); };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  nameTheme();

  // -- printing shows what is folded ------------------------------------------------------------------------------------
  let folded = [];
  addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; folded.forEach((d) => { d.open = true; }); });
  addEventListener("afterprint", () => folded.forEach((d) => { d.open = false; }));

  if (!$("data")) return;

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function make(tag, text, className) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  }

  function run(data) {
    const total = data.id.length, lists = data.lists;
    const value = (key, row) => (key in lists ? lists[key][data[key][row]] : data[key][row]);
    // one lower-case text a row to search in: title, ids, words, people, place
    const haystack = new Array(total);
    const text = (row) => haystack[row] ?? (haystack[row] = [
      data.id[row], data.key[row], data.name[row], data.starts[row], data.what[row], value("location", row), value("source", row), value("reason", row),
      value("code", row), value("message", row), ...data.fields[row].flat(), ...data.guests[row].flat(),
    ].join("\n").toLowerCase());

    const filters = { action: $("f-action"), source: $("f-source"), location: $("f-location"), state: $("f-state") };
    for (const [key, select] of Object.entries(filters)) {
      const counts = new Array(lists[key].length).fill(0);
      for (const place of data[key]) counts[place] += 1;
      lists[key].forEach((name, place) => {
        const option = make("option", `${name || "–"} (${counts[place].toLocaleString("en")})`);
        option.value = String(place);
        select.append(option);
      });
    }

    let found = [], page = 0, sort = { key: null, up: true };
    const open = new Set();

    function filter() {
      const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = Object.entries(filters).filter(([, s]) => s.value !== "").map(([key, s]) => [data[key], Number(s.value)]);
      found = [];
      for (let row = 0; row < total; row += 1) {
        if (wanted.every(([column, place]) => column[row] === place) && (!words.length || words.every((word) => text(row).includes(word)))) found.push(row);
      }
      if (sort.key) order();
      page = 0;
      draw();
    }

    function order() {
      const key = sort.key, sign = sort.up ? 1 : -1;
      const column = data[key];
      if (key in lists) found.sort((a, b) => sign * (column[a] - column[b]) || a - b);
      else found.sort((a, b) => (column[a] < column[b] ? -sign : column[a] > column[b] ? sign : a - b));
    }

    function draw() {
      const size = Number($("size").value), pages = Math.max(1, Math.ceil(found.length / size));
      page = Math.min(page, pages - 1);
      const body = $("rows");
      body.replaceChildren();
      for (const row of found.slice(page * size, (page + 1) * size)) {
        body.append(line(row));
        if (open.has(row)) body.append(detail(row));
      }
      const listed = total === found.length ? `${total.toLocaleString("en")} changes` : `${found.length.toLocaleString("en")} of ${total.toLocaleString("en")} changes`;
      $("found").textContent = found.length ? listed : "No change fits; reset the filters to see all.";
      $("page").textContent = `Page ${page + 1} of ${pages.toLocaleString("en")}`;
      $("previous").disabled = page === 0;
      $("next").disabled = page >= pages - 1;
    }

    function line(row) {
      const tr = make("tr"), action = value("action", row), state = value("state", row);
      tr.dataset.id = data.id[row];
      const first = make("td");
      if (data.fields[row].length || data.guests[row].length || value("message", row)) {
        const button = make("button", open.has(row) ? "▾" : "▸", "unfold");
        button.type = "button";
        button.setAttribute("aria-expanded", String(open.has(row)));
        button.setAttribute("aria-label", `Before and after of ${data.name[row] || data.id[row]}`);
        button.addEventListener("click", () => toggle(row, tr, button));
        first.append(button);
      }
      if (open.has(row)) tr.className = "open";
      const event = make("td", data.name[row]);
      event.append(make("br"), make("code", data.id[row]));
      if (data.key[row]) event.append(" ", make("span", data.key[row], "small"));
      const status = make("td");
      status.append(make("span", state, `state ${state}`));
      if (value("code", row)) status.append(make("br"), make("code", value("code", row)));
      const what = make("td", data.what[row]);
      const mark = make("td");
      mark.append(make("span", action, `tag ${action}`));
      tr.append(first, mark, make("td", day(data.starts[row]), "when"), event, make("td", value("location", row)), what, status);
      return tr;
    }

    function day(text) {
      if (!text) return "–";
      const names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
      return `${names[new Date(`${text.slice(0, 10)}T00:00:00Z`).getUTCDay()]} ${text}`;
    }

    function toggle(row, tr, button) {
      const opened = !open.has(row);
      if (opened) { open.add(row); tr.after(detail(row)); } else { open.delete(row); tr.nextElementSibling.remove(); }
      tr.className = opened ? "open" : "";
      button.textContent = opened ? "▾" : "▸";
      button.setAttribute("aria-expanded", String(opened));
    }

    function detail(row) {
      const tr = make("tr", undefined, "detail"), cell = make("td");
      cell.colSpan = 7;
      if (value("message", row)) cell.append(make("p", value("message", row)));
      const rows = (caption, head, list) => {
        const table = make("table"), top = make("tr");
        table.append(make("caption", caption));
        for (const label of head) { const th = make("th", label); th.scope = "col"; top.append(th); }
        const thead = make("thead"), tbody = make("tbody");
        thead.append(top);
        for (const [label, before, after] of list) {
          const one = make("tr");
          one.append(make("td", label), make("td", before || "–", before && before !== "–" ? "old" : ""), make("td", after || "–", after && after !== "–" ? "new-value" : ""));
          tbody.append(one);
        }
        table.append(thead, tbody);
        return table;
      };
      if (data.fields[row].length) cell.append(rows("Fields", ["field", "before", "after"], data.fields[row]));
      const signs = { "+": "added", "−": "removed", "~": "corrected" };
      const created = value("action", row) === "new";
      if (data.guests[row].length) cell.append(rows("Guests", ["", "before", "after"], data.guests[row].map(([sign, before, after]) => [created ? "invited" : signs[sign], before, after])));
      tr.append(cell);
      return tr;
    }

    for (const th of document.querySelectorAll("th[data-key]")) {
      const button = make("button", th.textContent);
      button.type = "button";
      th.replaceChildren(button);
      button.addEventListener("click", () => {
        sort = sort.key === th.dataset.key ? { key: sort.key, up: !sort.up } : { key: th.dataset.key, up: true };
        for (const other of document.querySelectorAll("th[data-key]")) {
          const mine = other === th;
          other.setAttribute("aria-sort", mine ? (sort.up ? "ascending" : "descending") : "none");
          const label = other.firstElementChild.textContent.replace(/ [▲▼]$/, "");
          other.firstElementChild.textContent = mine ? `${label} ${sort.up ? "▲" : "▼"}` : label;
        }
        order();
        page = 0;
        draw();
      });
    }
    let waiting = 0;
    $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, total > 5000 ? 120 : 0); });
    for (const select of Object.values(filters)) select.addEventListener("change", filter);
    $("size").addEventListener("change", draw);
    $("reset").addEventListener("click", () => { $("search").value = ""; for (const s of Object.values(filters)) s.value = ""; filter(); $("search").focus(); });
    $("previous").addEventListener("click", () => { page -= 1; draw(); });
    $("next").addEventListener("click", () => { page += 1; draw(); });
    filter();
    document.body.dataset.ready = "true";
  }

  unpack($("data").textContent).then(run, (error) => {
    $("found").textContent = `The table cannot be unpacked by this browser (${error.message}): the first changes are below, all are in changes.csv.`;
  });
})();
