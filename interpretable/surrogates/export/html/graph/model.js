/* Layers and their nodes, with what is derived from them. */

const FIRES = 0.5;
const LAYER_COLOURS = 6;
const [HEIGHT, WIDTH] = data.size;
const LONGEST = Math.max(HEIGHT, WIDTH);
const PART_UNKNOWN = "";

class Layer {
  constructor(source, index) {
    this.source = source;
    this.index = index;
    this.name = source.name;
    this.total = source.total;
    this.side = Math.min(source.side, HEIGHT, WIDTH);
    this.nodes = source.filters.map((filter, place) => new GraphNode(this, place, filter, source));
  }

  /** A packed array of the source, read when it is first asked for. */
  array(name, Kind) {
    this.arrays ??= {};
    return (this.arrays[name] ??= unpacked(this.source[name], Kind));
  }

  get top() {
    return this.array("top", Int32Array);
  }

  get activity() {
    return this.array("activity", Uint8Array);
  }

  get positions() {
    return this.array("positions", Uint16Array);
  }

  get above() {
    return layers[this.index + 1];
  }

  get below() {
    return layers[this.index - 1];
  }

  /** Edges from the nodes of the layer above to this layer's, by child, strongest first; one to a node that is not shown is none. */
  get edges() {
    if (!this.edgesOf) {
      const { parentsEach } = this.source;
      const parents = this.array("parents", Int32Array);
      const strengths = this.array("strengths", Uint16Array);
      this.edgesOf = this.nodes.map((child, place) => {
        const edges = [];
        for (let index = place * parentsEach; index < (place + 1) * parentsEach; index++) {
          const parent = this.above?.nodes[parents[index]];
          if (parent) edges.push({ parent, child, strength: strengths[index] / data.share });
        }
        return edges;
      });
    }
    return this.edgesOf;
  }

  /** The same edges by parent, for the nodes of this layer. */
  get edgesDown() {
    if (!this.edgesDownOf) {
      this.edgesDownOf = this.nodes.map(() => []);
      for (const edge of this.below?.edges.flat() ?? []) this.edgesDownOf[edge.parent.place].push(edge);
      for (const edges of this.edgesDownOf) edges.sort((one, other) => other.strength - one.strength);
    }
    return this.edgesDownOf;
  }
}

class GraphNode {
  constructor(layer, place, filter, source) {
    this.layer = layer;
    this.place = place;
    this.key = `${layer.index}/${filter}.${source.numbers[place]}`;
    this.filter = filter;
    this.number = `${filter}.${source.numbers[place]}`;
    this.part = source.parts[place] ?? PART_UNKNOWN;
    this.name = this.part === PART_UNKNOWN ? this.number : `${this.part} · ${this.number}`;
    this.score = source.scores[place];
    this.mean = source.places[place];
    this.spread = source.spreads[place];
    this.purity = source.purity[place];
    this.instability = source.instability[place];
  }

  /** Edges to the nodes that this one hangs on, strongest first. */
  get up() {
    return this.layer.edges[this.place];
  }

  /** Edges to the nodes that hang on this one, strongest first. */
  get down() {
    return this.layer.edgesDown[this.place];
  }

  /** Images in which it is most active, strongest first. */
  get topImages() {
    return [...this.layer.top.subarray(this.place * data.top, (this.place + 1) * data.top)].filter((image) => image >= 0);
  }

  /** Score in an image over its mean score. */
  activityIn(image) {
    return this.layer.activity[image * this.layer.nodes.length + this.place] / data.activity;
  }

  /** x and y in pixels of the image. */
  positionIn(image) {
    const index = 2 * (image * this.layer.nodes.length + this.place);
    const scale = LONGEST / data.share;
    return [this.layer.positions[index] * scale, this.layer.positions[index + 1] * scale];
  }

  /** Images in which it fires and that the page has: first the top ones in their exact order, then the others by activity. */
  get firingImages() {
    const top = this.topImages.filter((image) => this.activityIn(image) >= FIRES);
    const others = imagesShown.filter((image) => !top.includes(image) && this.activityIn(image) >= FIRES);
    return [...top, ...others.sort((one, other) => this.activityIn(other) - this.activityIn(one))];
  }

  /** Number of all images of the gallery in which it fires. */
  get firings() {
    return data.gallery.filter((_, image) => this.activityIn(image) >= FIRES).length;
  }
}

const imagesShown = Object.keys(data.images).map(Number);
const layers = data.layers.map((source, index) => new Layer(source, index));
const allNodes = layers.flatMap((layer) => layer.nodes);
const nodeByKey = new Map(allNodes.map((node) => [node.key, node]));
const partNames = [...new Set(allNodes.map((node) => node.part))].filter((part) => part !== PART_UNKNOWN).sort();
const purityKnown = allNodes.some((node) => node.purity !== null);
const highestScore = Math.max(0, ...allNodes.map((node) => node.score ?? 0));

/** How strong the weakest and the strongest edge is. */
const strengthRange = (() => {
  let [low, high] = [1, 0];
  for (const edge of layers.flatMap((layer) => layer.edges.flat())) {
    low = Math.min(low, edge.strength);
    high = Math.max(high, edge.strength);
  }
  return low <= high ? [low, high] : [0, 1];
})();
