"use strict";
// Everything is readable without this: it adds search, order, groups and the large view.
const $ = (query, from = document) => from.querySelector(query);
const all = (query, from = document) => [...from.querySelectorAll(query)];
const sheet = $(".sheet"), tools = $(".tools"), box = $("dialog.large"), table = $(".videos");

if (sheet) {
  const cards = all(".card"), rows = all("tbody tr", table), first = $("#show-first");
  const limit = cards.filter(card => !card.classList.contains("later")).length;
  const searched = new Map(cards.map((card, i) => [card, rows[i]]));
  const text = card => (card.textContent + " " + searched.get(card).textContent).toLowerCase();
  const words = new Map(cards.map(card => [card, null]));
  const find = $("#find"), order = $("#order"), group = $("#group"), count = $("#found");
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const orders = {
    given: () => 0,
    video: (a, b) => compare(a.dataset.video, b.dataset.video),
    answer: (a, b) => compare(a.dataset.answer, b.dataset.answer),
    far: (a, b) => (b.dataset.distance || -1) - (a.dataset.distance || -1),
    slow: (a, b) => (b.dataset.latency || -1) - (a.dataset.latency || -1),
  };

  const search = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const card of cards) {
      if (wanted.length && words.get(card) === null) words.set(card, text(card));
      const fits = wanted.every(word => words.get(card).includes(word));
      card.hidden = searched.get(card).hidden = !fits;
      found += fits;
    }
    if (wanted.length && first?.checked) $("#show-all").checked = true;
    count.textContent = wanted.length ? `${found} of ${cards.length}` : "";
    heads();
  };
  const heads = () => {  // a group without a card that fits has no heading
    for (const head of all(".group-head", sheet)) {
      let next = head.nextElementSibling, fits = 0;
      for (; next?.matches(".card"); next = next.nextElementSibling) fits += !next.hidden;
      head.hidden = !fits;
      $("b", head).textContent = fits;
    }
  };
  const arrange = () => {
    all(".group-head", sheet).forEach(head => head.remove());
    const by = group.value, sorted = cards.map((card, i) => [card, i]);
    sorted.sort(([a, i], [b, j]) =>
      (by ? compare(a.dataset[by], b.dataset[by]) : 0) || orders[order.value](a, b) || i - j);
    let last = null;
    sorted.forEach(([card], i) => {
      if (by && card.dataset[by] !== last) {
        const head = document.createElement("li");
        head.className = "group-head";
        head.append((last = card.dataset[by]) || "Nobody expected", " ", document.createElement("b"));
        sheet.append(head);
      }
      card.classList.toggle("later", i >= limit);
      sheet.append(card);
    });
    if (by && first?.checked) $("#show-all").checked = true;
    heads();
  };
  find.addEventListener("input", search);
  order.addEventListener("change", arrange);
  group.addEventListener("change", arrange);
  tools.addEventListener("submit", event => event.preventDefault());
  tools.hidden = false;

  let open = null;
  const visible = () => all(".card", sheet).filter(card => card.offsetParent !== null);
  const show = card => {
    open = card;
    const copy = card.cloneNode(true);
    copy.removeAttribute("id");
    $(".open", copy).removeAttribute("href");
    const own = $(".strip .own i", copy), shown = $(".mat .frame", copy);
    if (own && shown) own.replaceWith(shown.cloneNode(true));
    $(".strip .own", copy)?.setAttribute("aria-current", "true");
    $(".body", box).replaceChildren(copy);
    const place = visible().indexOf(card);
    $(".place", box).textContent = `${place + 1} of ${visible().length}`;
    if (!box.open) box.showModal();
    box.scrollTop = 0;
  };
  const step = by => {
    const shown = visible(), to = shown[shown.indexOf(open) + by];
    if (to) show(to);
  };
  sheet.addEventListener("click", event => {
    const link = event.target.closest(".open");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.closest(".card"));
  });
  box.addEventListener("click", event => {
    if (event.target === box || event.target.closest(".shut")) box.close();
    const frame = event.target.closest(".strip .frame");
    if (frame) {
      $(".mat .frame", box).replaceWith(frame.cloneNode(true));
      $(".mat .count", box).textContent = `at ${frame.nextElementSibling.textContent}`;
      $(".strip [aria-current]", box)?.removeAttribute("aria-current");
      frame.closest("li").setAttribute("aria-current", "true");
      box.scrollTop = 0;
    }
    if (event.target.closest(".previous")) step(-1);
    if (event.target.closest(".next")) step(1);
  });
  box.addEventListener("keydown", event => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  box.addEventListener("close", () => $(".open", open).focus());
}

for (const head of all(".sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = $("tbody", head.closest("table")), column = head.cellIndex;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const value = row => row.cells[column].textContent.trim();
    const seconds = text => /^[\d.]+ m?s$/.test(text) && parseFloat(text) / (text.endsWith("ms") ? 1000 : 1);
    const keyed = all("tr", body).map(row => [value(row), row]);
    keyed.sort(([a], [b]) => {
      if (!a || !b) return !a - !b;  // empty cells stay last
      const [x, y] = [seconds(a), seconds(b)];
      return (x !== false && y !== false ? x - y : compare(a, b)) * (down ? -1 : 1);
    });
    body.append(...keyed.map(([, row]) => row));
    for (const other of all("th", head.parentNode)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
}
