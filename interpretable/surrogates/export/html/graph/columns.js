/* A column of cards per layer, the top layer at the left: first what the selected node is tied to, then the strongest. */

const CARDS_AT_ONCE = 60;

const columnBox = make("div", "columns");

class Column {
  constructor(layer) {
    this.layer = layer;
    this.limit = CARDS_AT_ONCE;
    this.amount = make("span", "quiet");
    this.amount.title = `${count(layer.total, "node")} were learned, the strongest of all layers are on this page`;
    this.head = make("div", `column-head layer-${layer.index % LAYER_COLOURS}`, make("h3", "", make("span", "dot"), named(layer.name)), this.amount);
    this.list = make("ul", "cards");
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", `Nodes of ${layer.name}`);
    this.list.addEventListener("scroll", () => scheduleEdges(), { passive: true });
    this.cards = new Map();
  }

  /** Lists the nodes that are left by the filters; those that are tied to the selected node, and itself, come to the top. */
  refresh(isLeft, selected) {
    const { nodes } = this.layer;
    const left = nodes.filter(isLeft);
    const raised = selected?.layer === this.layer ? this.outOfReach(selected, left) : tiedTo(selected, this.layer).filter(isLeft);
    const first = new Set(raised);
    const all = [...raised, ...left.filter((node) => !first.has(node))];
    this.entries = all.slice(0, this.limit);
    this.cards = new Map(this.entries.map((node) => [node, this.cards.get(node) ?? cardOf(node)]));
    this.amount.textContent = left.length === nodes.length ? count(left.length, "node") : `${count(left.length)} of ${count(nodes.length)}`;
    const rows = [...this.cards.values()];
    if (rows.length > raised.length && raised.length) rows.splice(raised.length, 0, groupRow("Others"));
    if (raised.length) rows.unshift(groupRow(this.relation(selected)));
    if (!all.length) rows.push(groupRow("No node is left by the filters."));
    if (all.length > this.entries.length) rows.push(this.moreRow(all.length - this.entries.length));
    fill(this.list, rows);
    for (const [node, card] of this.cards) {
      card.setAttribute("aria-selected", node === selected);
      card.classList.toggle("tied", first.has(node) && node !== selected);
      card.tabIndex = -1;
    }
    const entry = this.cards.get(selected) ?? this.cards.values().next().value;
    if (entry) entry.tabIndex = 0;
    return raised.length > 0;
  }

  /** The selected node itself where its own column would not list it. */
  outOfReach(selected, left) {
    return left.slice(0, this.limit).includes(selected) ? [] : [selected];
  }

  relation(selected) {
    if (selected.layer === this.layer) return "Selected";
    return `${this.layer === selected.layer.above ? "Parents" : "Children"} of ${selected.number}`;
  }

  moreRow(rest) {
    const more = button("link", () => {
      const next = this.entries.length;
      this.limit += CARDS_AT_ONCE;
      this.refresh(filterOfNodes(), selectedNode());
      scheduleEdges();
      [...this.cards.values()][next]?.focus();
    }, `${count(rest)} more: show ${count(Math.min(rest, CARDS_AT_ONCE))}`);
    const row = make("li", "more", more);
    row.setAttribute("role", "presentation");
    return row;
  }
}

function groupRow(text) {
  const row = make("li", "group", text);
  row.setAttribute("role", "presentation");
  return row;
}

/** Nodes of a layer that an edge of at least the chosen strength ties to a node, strongest edge first. */
function tiedTo(node, layer) {
  if (!node || hiddenLayers().has(node.layer.index)) return [];
  const ends = layer === node.layer.above ? [node.up, "parent"] : layer === node.layer.below ? [node.down, "child"] : [[], ""];
  return ends[0].filter((edge) => edge.strength >= here.strength).map((edge) => edge[ends[1]]);
}

const columns = layers.map((layer) => new Column(layer)).reverse();

function shownColumns() {
  const hidden = hiddenLayers();
  return columns.filter((column) => !hidden.has(column.layer.index));
}

/** Brings the columns in line with filters and selection; what a new selection raises is scrolled into sight. */
function refreshColumns() {
  const selected = selectedNode();
  const selectionChanged = refreshColumns.selected !== selected;
  const choice = JSON.stringify([here.node, here.strength, ...FILTERS.map((key) => here[key])]);
  if (refreshColumns.choice === choice) return;
  for (const column of columns) column.limit = CARDS_AT_ONCE;
  Object.assign(refreshColumns, { selected, choice });
  const isLeft = filterOfNodes();
  const shown = shownColumns();
  columnBox.style.setProperty("--columns", Math.max(1, shown.length));
  columnBox.classList.toggle("alone", shown.length === 1);
  fill(columnBox, [...shown.map((column) => column.head), ...shown.map((column) => column.list), edgeCanvas]);
  // First all that is read of the layout, then all that changes it, so that it is made once.
  const before = shown.map((column) => column.list.scrollTop);
  const raised = shown.map((column) => column.refresh(isLeft, selected));
  shown.forEach((column, index) => (column.list.scrollTop = selectionChanged && raised[index] ? 0 : before[index]));
  const own = shown.find((column) => column.layer === selected?.layer);
  if (selectionChanged && own) bringIntoView(own.list, own.cards.get(selected));
  if (!shown.length) columnBox.prepend(make("p", "note", layers.length ? "All layers are hidden." : "This graph has no layer."));
  refreshEdges();
}

/** Scrolls a list, and it alone, where a card is out of sight. */
function bringIntoView(list, card) {
  if (!card) return;
  const top = card.offsetTop;
  if (top < list.scrollTop || top + card.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
}

columnBox.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card) select(nodeByKey.get(card.dataset.node));
});

columnBox.addEventListener("keydown", (event) => {
  const card = event.target.closest(".card");
  if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = shownColumns();
  const place = shown.findIndex((column) => column.list === card.parentElement);
  const cards = [...shown[place].cards.values()];
  const index = cards.indexOf(card);
  const move = (target) => {
    if (!target) return;
    card.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  };
  const beside = (column) => column?.list.querySelector(".card[tabindex='0']") ?? column?.list.querySelector(".card");
  const keys = {
    ArrowDown: () => move(cards[index + 1]),
    ArrowUp: () => move(cards[index - 1]),
    Home: () => move(cards[0]),
    End: () => move(cards.at(-1)),
    ArrowLeft: () => beside(shown[place - 1])?.focus(),
    ArrowRight: () => beside(shown[place + 1])?.focus(),
    Enter: () => select(nodeByKey.get(card.dataset.node)),
    " ": () => select(nodeByKey.get(card.dataset.node)),
    Escape: () => select(null),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
