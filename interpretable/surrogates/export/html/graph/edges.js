/* Lines between cards of neighbouring columns: those of the selected node, and the strongest among cards in sight. */

const EDGES_AT_MOST = 300;
const SVG = "http://www.w3.org/2000/svg";

const edgeCanvas = document.createElementNS(SVG, "svg");
edgeCanvas.setAttribute("class", "edges");
edgeCanvas.setAttribute("aria-hidden", "true");

const edgeNote = make("p", "quiet edge-note");

/** Where cards are among the lines; those of a column are one below another, so that one look at the list tells of all. */
function cardPlaces(column, origin) {
  const box = column.list.getBoundingClientRect();
  const places = new Map();
  for (const [node, card] of column.cards) {
    const y = card.offsetTop - column.list.scrollTop + card.offsetHeight / 2;
    places.set(node, {
      left: box.left - origin.left + card.offsetLeft,
      right: box.left - origin.left + card.offsetLeft + card.offsetWidth,
      y: box.top - origin.top + y,
      inSight: y > 0 && y < column.list.clientHeight,
    });
  }
  return places;
}

/** Edges that may be drawn between two columns, with the places of their ends. */
function edgesBetween(above, below, places) {
  const [up, down] = [places.get(above), places.get(below)];
  const found = [];
  for (const child of below.entries) {
    for (const edge of child.up) {
      if (edge.strength < here.strength) break; // strongest first
      if (up.has(edge.parent)) found.push({ edge, from: up.get(edge.parent), to: down.get(child) });
    }
  }
  return found;
}

function refreshEdges() {
  const selected = selectedNode();
  const shown = shownColumns();
  const origin = edgeCanvas.getBoundingClientRect();
  const places = new Map(shown.map((column) => [column, cardPlaces(column, origin)]));
  const found = shown.slice(1).flatMap((below, index) => (shown[index].layer === below.layer.above ? edgesBetween(shown[index], below, places) : []));
  const isOwn = ({ edge }) => edge.parent === selected || edge.child === selected;
  const own = found.filter(isOwn);
  const others = found.filter((line) => !isOwn(line) && line.from.inSight && line.to.inSight);
  others.sort((one, other) => other.edge.strength - one.edge.strength);
  const drawn = [...others.slice(0, EDGES_AT_MOST).map((line) => lineOf(line, "")), ...own.map((line) => lineOf(line, "own"))];
  edgeCanvas.replaceChildren(...drawn);
  edgeCanvas.classList.toggle("beside", own.length > 0);
  showAmount(drawn.length);
}

function lineOf({ edge, from, to }, className) {
  const line = document.createElementNS(SVG, "path");
  const middle = (from.right + to.left) / 2;
  const [low, high] = strengthRange;
  const share = high > low ? (edge.strength - low) / (high - low) : 1;
  line.setAttribute("d", `M${from.right} ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${to.left} ${to.y}`);
  line.setAttribute("class", className);
  line.style.strokeWidth = `${0.75 + 2.25 * share}px`;
  line.style.strokeOpacity = 0.2 + 0.7 * share;
  line.dataset.parent = edge.parent.key;
  line.dataset.child = edge.child.key;
  return line;
}

function showAmount(drawn) {
  edgeNote.hidden = layers.length < 2;
  edgeNote.textContent = `Lines lead from parents, at their left, to children, the nodes of the layer below that hang on them. ${count(drawn, "line")} drawn.`;
}

let edgesScheduled = false;

/** Draws the lines before the next frame, once however often it is asked for. */
function scheduleEdges() {
  if (edgesScheduled) return;
  edgesScheduled = true;
  requestAnimationFrame(() => {
    edgesScheduled = false;
    refreshEdges();
  });
}

/** Sets off the lines of the card under the pointer. */
columnBox.addEventListener("pointerover", (event) => {
  const key = event.target.closest(".card")?.dataset.node;
  for (const line of edgeCanvas.children) line.classList.toggle("met", line.dataset.parent === key || line.dataset.child === key);
});
