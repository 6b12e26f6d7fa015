/* Finding nodes by title, filter and part, and test images by name and label, in all trees. */

const RESULTS_AT_MOST = 200;

const searchBox = make("input", "search");
Object.assign(searchBox, { type: "search", placeholder: "Search nodes, filters, parts, images   /" });
searchBox.setAttribute("role", "combobox");
searchBox.setAttribute("aria-label", "Search nodes, filters, parts and images");
searchBox.setAttribute("aria-controls", "results");
searchBox.setAttribute("aria-expanded", "false");

const resultList = make("ul", "results");
resultList.id = "results";
resultList.setAttribute("role", "listbox");
resultList.setAttribute("aria-label", "Matches");

const resultCount = make("p", "quiet found");
const finding = { results: [], active: -1 };

/** Matches in the order of titles, strongest filters, other contributions, images. */
function search(text) {
  const query = text.trim().toLowerCase();
  if (!query) return [];
  const has = (name) => name.toLowerCase().includes(query);
  const names = new Set(data.names.flatMap((name, index) => (has(name) ? [index] : [])));
  const filters = new Set(Object.keys(data.filters).filter((filter) => has(data.filters[filter])).map(Number));
  const ranks = [[], [], [], []];
  for (const tree of trees) {
    for (const [key, node] of Object.entries(tree.nodes)) {
      const place = { tree, view: "node", node: Number(key) };
      if (has(node.title)) ranks[0].push({ place, name: node.title, why: "" });
      else {
        const filter = node.filters.find((candidate) => filters.has(candidate));
        const bar = [...node.parts, ...node.contributions].find((name, index) => index % 2 === 0 && names.has(name));
        if (filter !== undefined) ranks[1].push({ place, name: node.title, why: data.filters[filter] });
        else if (bar !== undefined) ranks[2].push({ place, name: node.title, why: data.names[bar] });
      }
    }
    for (const path of tree.paths) {
      const found = [path.name, path.label, path.decision].some(has);
      if (found) ranks[3].push({ place: { tree, view: "image", image: path.image }, name: path.name, why: path.label });
    }
  }
  return ranks.flat();
}

function runSearch() {
  Object.assign(finding, { results: search(searchBox.value), active: -1 });
  const { results } = finding;
  markMatches();
  const open = Boolean(searchBox.value.trim());
  searchBox.setAttribute("aria-expanded", open);
  searchBox.removeAttribute("aria-activedescendant");
  resultList.hidden = resultCount.hidden = !open;
  resultCount.textContent = results.length ? `${count(results.length)} ${results.length === 1 ? "match" : "matches"}` : "Nothing is called so.";
  if (results.length > RESULTS_AT_MOST) resultCount.textContent += `, the first ${RESULTS_AT_MOST} of them:`;
  resultList.replaceChildren(...results.slice(0, RESULTS_AT_MOST).map(resultRow));
  resultList.scrollTop = 0;
}

function resultRow(result, index) {
  const row = make("li", result.place.view, named(result.name), make("span", "why", result.why ? named(result.why) : ""));
  if (trees.length > 1) row.append(make("span", "where", named(result.place.tree.name)));
  row.id = `result-${index}`;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", "false");
  row.addEventListener("click", () => visit(index));
  return row;
}

function markMatches() {
  shown.matches = new Set(finding.results.flatMap(({ place }) => (place.view === "node" && place.tree === shown.tree ? [place.node] : [])));
  refreshRows();
}

function activate(index) {
  const rows = resultList.children;
  if (!rows.length) return;
  rows[finding.active]?.setAttribute("aria-selected", "false");
  finding.active = (index + rows.length) % rows.length;
  const row = rows[finding.active];
  row.setAttribute("aria-selected", "true");
  row.scrollIntoView({ block: "nearest" });
  searchBox.setAttribute("aria-activedescendant", row.id);
}

function visit(index) {
  activate(index);
  const result = finding.results[finding.active];
  if (!result) return;
  go(result.place);
  result.visited = true;
  markMatches();
}

function clearSearch() {
  searchBox.value = "";
  runSearch();
}

searchBox.addEventListener("input", runSearch);
searchBox.addEventListener("keydown", (event) => {
  const { active, results } = finding;
  const keys = {
    ArrowDown: () => activate(active + 1),
    ArrowUp: () => activate(active < 0 ? -1 : active - 1),
    Enter: () => visit(active < 0 ? 0 : results[active].visited ? active + (event.shiftKey ? -1 : 1) : active),
    Escape: clearSearch,
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  searchBox.focus();
});
