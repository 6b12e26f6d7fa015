/* Trees with what is derived from them, and places that an address names. */

const ROOT = 0;
const CHILDREN_AT_ONCE = 200;

class Tree {
  constructor(source, index) {
    this.index = index;
    this.name = source.name;
    this.nodes = source.nodes;
    this.paths = source.paths;
    this.open = new Set([ROOT]);
    this.limits = new Map(); // how many children of a node are listed, where it is not the first few
  }

  get size() {
    return (this.number ??= Object.keys(this.nodes).length);
  }

  /** The strongest part of a node, or where there are none its strongest filter. */
  top(number) {
    const { parts, contributions } = this.nodes[number];
    return barsOf((parts.length ? parts : contributions).slice(0, 2))[0];
  }

  /** Decimals in which the strongest of all nodes line up. */
  get topDecimals() {
    return (this.decimals ??= decimalsOf(Object.keys(this.nodes).map((number) => this.top(number)?.value ?? 0)));
  }

  /** Parent by node. */
  get parents() {
    if (!this.parentOf) {
      this.parentOf = new Map();
      for (const [number, node] of Object.entries(this.nodes)) for (const child of node.children) this.parentOf.set(child, Number(number));
    }
    return this.parentOf;
  }

  /** Nodes from the root to this one. */
  lineage(number) {
    const line = [];
    for (let node = number; node !== undefined; node = this.parents.get(node)) line.push(node);
    return line.reverse();
  }

  /** Parse path by image. */
  path(image) {
    this.pathOf ??= new Map(this.paths.map((path) => [path.image, path]));
    return this.pathOf.get(image);
  }

  /** Parse paths that pass a node. */
  pathsThrough(number) {
    if (!this.passing) {
      this.passing = new Map();
      for (const path of this.paths) {
        for (const [node] of path.steps) {
          if (!this.passing.has(node)) this.passing.set(node, []);
          this.passing.get(node).push(path);
        }
      }
    }
    return this.passing.get(number) ?? [];
  }

  limit(number) {
    return this.limits.get(number) ?? CHILDREN_AT_ONCE;
  }

  /** Opens all that is above a node, and lists it among its siblings. */
  reveal(number) {
    const line = this.lineage(number);
    line.slice(0, -1).forEach((node, depth) => {
      this.open.add(node);
      const place = this.nodes[node].children.indexOf(line[depth + 1]);
      if (place >= this.limit(node)) this.limits.set(node, CHILDREN_AT_ONCE * Math.ceil((place + 1) / CHILDREN_AT_ONCE));
    });
  }

  /** Opens whole levels while no more rows than this are shown, and so many of a node's children; says whether all are. */
  openUpTo(rows, childrenAtOnce) {
    let level = [ROOT];
    let shown = 1;
    while (level.length) {
      const parents = level.filter((number) => this.nodes[number].children.length);
      for (const number of parents) this.limits.set(number, Math.max(this.limit(number), childrenAtOnce));
      const next = parents.flatMap((number) => this.nodes[number].children.slice(0, this.limit(number)));
      if (level[0] !== ROOT && shown + next.length > rows) return false;
      for (const number of parents) this.open.add(number);
      shown += next.length;
      level = next;
    }
    return shown >= this.size;
  }
}

const trees = data.trees.map((tree, index) => new Tree(tree, index));

/** What a tree is called in an address: its name, with its number where an earlier one has the same. */
function addressOf(tree) {
  return trees.findIndex((other) => other.name === tree.name) === tree.index ? tree.name : `${tree.name}~${tree.index}`;
}

/** A place is a tree with a node, with one of its test images or with the list of them. */
function hashOf({ tree, node, image, view }) {
  const what = view === "image" ? `image/${image}` : view === "images" ? "images" : node;
  return `#${encodeURIComponent(addressOf(tree))}/${what}`;
}

/** The place that an address names, or nothing. */
function placeOf(hash) {
  const [, name, what] = hash.match(/^#([^/]*)\/(.+)$/) ?? [];
  if (what === undefined) return null;
  let decoded;
  try {
    decoded = decodeURIComponent(name);
  } catch {
    return null;
  }
  const tree = trees.find((other) => addressOf(other) === decoded);
  const image = Number(what.match(/^image\/(\d+)$/)?.[1] ?? NaN);
  if (!tree) return null;
  if (what === "images" && tree.paths.length) return { tree, view: "images" };
  if (tree.path(image)) return { tree, view: "image", image };
  return /^\d+$/.test(what) && tree.nodes[what] ? { tree, view: "node", node: Number(what) } : null;
}
