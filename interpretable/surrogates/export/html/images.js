/* Test images: the list of them, and how a tree explains one. */

const TILES_AT_ONCE = 120;
const STEPS_OPEN = 8;
const BARS_OF_A_STEP = 6;

const choice = { tree: null, text: "", label: "", decision: "", wrong: false, below: null };

/** A thumbnail, or nothing where the page has no such image; kind is "train", "test" or "region". */
function thumbnail(kind, key, description) {
  const place = data.places[kind][key];
  return place ? sprite(place, "thumbnail", description) : "";
}

function isWrong(path) {
  return path.label !== path.decision;
}

/** Shows the list with the images that come to a node. */
function listBelow(tree, number) {
  Object.assign(choice, { tree, text: "", label: "", decision: "", wrong: false, below: number });
  go({ tree, view: "images" });
}

function chosenPaths(tree) {
  if (choice.tree !== tree) Object.assign(choice, { tree, text: "", label: "", decision: "", wrong: false, below: null });
  const text = choice.text.trim().toLowerCase();
  const paths = choice.below === null ? tree.paths : tree.pathsThrough(choice.below);
  return paths.filter(
    (path) =>
      (!choice.wrong || isWrong(path)) &&
      (!choice.label || path.label === choice.label) &&
      (!choice.decision || path.decision === choice.decision) &&
      (!text || path.name.toLowerCase().includes(text)),
  );
}

function tile(tree, path) {
  const link = make("a", isWrong(path) ? "tile wrong" : "tile");
  link.href = hashOf({ tree, view: "image", image: path.image });
  const picture = thumbnail("test", path.image, path.name);
  const caption = make("span", "caption", named(path.label));
  if (isWrong(path)) caption.append(make("span", "taken", "✕ ", named(path.decision)));
  link.append(picture || named(path.name, "no-picture"), caption);
  link.title = isWrong(path) ? `${path.name}: ${path.label}, taken for ${path.decision}` : `${path.name}: ${path.label}`;
  return link;
}

function imageList(tree) {
  const amount = make("span", "quiet");
  const tiles = make("div", "tiles");
  const end = make("div", "end");
  let paths = [];
  let listed = 0;
  const more = () => {
    tiles.append(...paths.slice(listed, listed + TILES_AT_ONCE).map((path) => tile(tree, path)));
    listed = Math.min(paths.length, listed + TILES_AT_ONCE);
    end.hidden = listed === paths.length;
  };
  const start = () => {
    paths = chosenPaths(tree);
    listed = 0;
    tiles.replaceChildren();
    amount.textContent = `${count(paths.length)} of ${count(tree.paths.length, "image")}`;
    more();
  };
  // Watched again after each portion: an end that stays in view is not reported twice.
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    more();
    observer.unobserve(end);
    if (!end.hidden) observer.observe(end);
  }, { rootMargin: "400px" });
  start();
  observer.observe(end);
  const controls = imageControls(tree, () => {
    start();
    observer.observe(end);
  });
  return make("article", "images", make("div", "controls", ...controls, amount), tiles, end);
}

function imageControls(tree, changed) {
  const text = make("input", "");
  Object.assign(text, { type: "search", placeholder: "Name of an image", value: choice.text });
  text.setAttribute("aria-label", "Name of an image");
  text.addEventListener("input", () => {
    choice.text = text.value;
    changed();
  });
  const select = (field, first) => {
    const element = make("select", "", new Option(first, ""));
    for (const value of [...new Set(tree.paths.map((path) => path[field]))].sort()) element.append(new Option(value, value));
    element.value = choice[field];
    element.setAttribute("aria-label", first);
    element.addEventListener("change", () => {
      choice[field] = element.value;
      changed();
    });
    return element;
  };
  const wrong = make("input", "");
  Object.assign(wrong, { type: "checkbox", checked: choice.wrong, id: "wrong-only" });
  wrong.addEventListener("change", () => {
    choice.wrong = wrong.checked;
    changed();
  });
  const controls = [text, select("label", "Any class"), select("decision", "Any decision"), make("label", "check", wrong, "Wrong only")];
  if (choice.below !== null) {
    const below = button("chip", () => {
      choice.below = null;
      below.remove();
      changed();
    }, "at ", named(tree.nodes[choice.below].title), " ✕");
    controls.push(below);
  }
  return controls;
}

function imageDetail(tree, path) {
  const wrong = isWrong(path);
  const scores = [path.score, ...path.steps.map(([, score]) => score)].filter((score) => score !== null);
  const scale = { decimals: decimalsOf(scores), low: Math.min(...scores), high: Math.max(...scores), reach: reachOf(path.steps.flatMap(([, , bars]) => barsOf(bars))) };
  const verdict = make("span", wrong ? "verdict wrong" : "verdict", wrong ? "✕ taken for " : "✓ taken for ", named(path.decision));
  const words = make("div", "", make("h2", "", named(path.name)), make("p", "", named(path.label, "label"), " ", verdict), make("p", "", "Network's own score ", make("strong", "", number(path.score, scale.decimals))));
  const steps = path.steps.map((step, index) => stepDetail(tree, path, step, index, scale));
  const legend = make("p", "legend", make("span", "own"), "the network's own score", make("span", "predicted"), "the node's prediction");
  return make("article", "image", neighbours(tree, path), make("div", "subject", thumbnail("test", path.image, path.name), words), section("Parse path", "from the root down; bars are this image's contributions", legend, make("ol", "steps", ...steps)));
}

/** Links to the list, and to the images before and after this one in it. */
function neighbours(tree, path) {
  const paths = chosenPaths(tree);
  const place = paths.indexOf(path);
  const link = (text, image) => {
    const element = make("a", "", text);
    if (image) element.href = hashOf({ tree, view: "image", image: image.image });
    else element.setAttribute("aria-disabled", "true");
    return element;
  };
  const list = make("a", "", "All test images");
  list.href = hashOf({ tree, view: "images" });
  const bar = make("nav", "crumbs", list, make("span", "around", link("‹ Previous", paths[place - 1]), link("Next ›", place < 0 ? null : paths[place + 1])));
  bar.setAttribute("aria-label", "Test images");
  return bar;
}

function stepDetail(tree, path, [node, score, flat], index, scale) {
  const body = make("div", "body");
  const details = make("details", "");
  const gap = score === null || path.score === null ? null : score - path.score;
  const numbers = make("span", "numbers", make("strong", "", number(score, scale.decimals)), make("span", "quiet", ` ${number(gap, scale.decimals, "+")}`));
  numbers.title = "The node's prediction, and how far it is from the network's own score";
  details.append(make("summary", "", make("span", "step", `${index + 1}`), nodeLink(tree, node), scoreLine(score, path.score, scale.low, scale.high), numbers), body);
  const fill = () => {
    if (details.open && !body.childElementCount) body.append(barList(barsOf(flat), scale.reach, BARS_OF_A_STEP) || make("p", "quiet", "No contributions are given."));
  };
  details.addEventListener("toggle", fill);
  details.open = path.steps.length <= STEPS_OPEN || index === 0 || index >= path.steps.length - 2;
  fill();
  const item = make("li", "", details);
  item.dataset.node = node;
  return item;
}
