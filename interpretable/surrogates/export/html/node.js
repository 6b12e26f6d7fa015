/* What is known of one node. */

const THUMBNAILS_AT_FIRST = 24;
const CRUMBS = 8;

function nodeDetail(tree, number) {
  const node = tree.nodes[number];
  const root = tree.nodes[ROOT];
  const filters = barsOf(node.contributions);
  const parts = barsOf(node.parts);
  const share = make("span", "bar");
  share.style.width = `${(100 * node.images) / Math.max(1, root.images)}%`;
  const images = make("p", "amount", make("span", "", make("strong", "", count(node.images)), node.images === 1 ? " image" : " images"), make("span", "track", share));
  if (number !== ROOT && root.images) images.append(make("span", "quiet", `${((100 * node.images) / root.images).toFixed(1)} % of the tree's`));
  return make(
    "article", "node",
    breadcrumb(tree, number),
    make("h2", "", named(node.title)),
    images,
    pairs(node.facts, "facts"),
    section("Parts", "mean contribution to the score, added up over each part's filters", barList(parts)),
    section("Filters", "mean contribution to the score", barList(filters)),
    section("Strongest filters", "by the image regions that excite them most", filterRows(node, filters)),
    section("Example images", "most typical first", gallery(node.examples.map((key) => thumbnail("train", key, `Image ${key} of the fitted data`)))),
    testImagesBelow(tree, number),
  );
}

/** Links to all nodes above; of very many the first and the last ones. */
function breadcrumb(tree, number) {
  const line = tree.lineage(number);
  const left = line.length > CRUMBS ? line.length - CRUMBS : 0;
  const some = left ? [line[0], null, ...line.slice(left + 1)] : line;
  const list = make("ol", "");
  for (const node of some) {
    if (node === null) list.append(make("li", "quiet", `${left} more`));
    else if (node === number) list.append(make("li", "here", named(tree.nodes[node].title)));
    else list.append(make("li", "", nodeLink(tree, node)));
  }
  const crumbs = make("nav", "crumbs", list);
  crumbs.setAttribute("aria-label", "Nodes above");
  return crumbs;
}

function nodeLink(tree, number) {
  const link = make("a", "", named(tree.nodes[number].title));
  link.href = hashOf({ tree, view: "node", node: number });
  return link;
}

function filterRows(node, contributions) {
  const values = new Map(contributions.map((bar) => [bar.name, bar.value]));
  const decimals = decimalsOf([...values.values()]);
  const rows = node.filters.map((filter) => {
    const name = data.filters[filter];
    const label = make("div", "filter-name", named(name));
    if (values.has(name)) label.append(make("span", values.get(name) < 0 ? "negative" : "positive", number(values.get(name), decimals, "+")));
    const regions = (data.regions[filter] ?? []).map((key, rank) => thumbnail("region", key, `Region ${rank + 1} of ${name}`));
    return make("li", "", label, make("div", "regions", ...regions));
  });
  return rows.length ? make("ul", "filter-rows", ...rows) : "";
}

/** Thumbnails side by side, many of them on request. */
function gallery(thumbnails) {
  const some = thumbnails.filter((element) => element);
  const box = make("div", "gallery", ...some.slice(0, THUMBNAILS_AT_FIRST));
  if (some.length <= THUMBNAILS_AT_FIRST) return some.length ? box : "";
  const more = button("link", () => {
    box.append(...some.slice(THUMBNAILS_AT_FIRST));
    more.remove();
  }, `Show all ${some.length}`);
  return make("div", "", box, more);
}

function testImagesBelow(tree, number) {
  const paths = tree.pathsThrough(number);
  if (!paths.length) return "";
  const wrong = paths.filter(isWrong).length;
  const tiles = make("div", "tiles", ...paths.slice(0, THUMBNAILS_AT_FIRST).map((path) => tile(tree, path)));
  const note = `${count(paths.length)} of ${count(tree.paths.length)}, ${count(wrong)} taken for another class`;
  return section("Test images that come here", note, tiles, paths.length > THUMBNAILS_AT_FIRST ? button("link", () => listBelow(tree, number), `Show all ${count(paths.length)}`) : "");
}
