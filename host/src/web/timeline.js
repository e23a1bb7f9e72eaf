// The time line: stacked uncertainty of the last frames, and which of them is looked at.

import {decimal, limit, sentence} from './words.js';

const MARGIN = {left: 38, right: 8, top: 8, bottom: 16};
const SLOTS = {pixels: 4, least: 60, most: 300};
/** Upper ends of the scale, nats. */
const SCALES = [0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10];

const nats = value => Number.isFinite(value) && value > 0 ? value : 0;

export class TimeLine {
  /** Calls `open(frame)` when a frame's measures are asked for. */
  constructor(open) {
    this.root = document.getElementById('line');
    this.drawing = document.getElementById('drawing');
    this.reading = document.getElementById('reading');
    this.paths = Object.fromEntries(['grid', 'aleatoric', 'epistemic', 'limit', 'marks', 'cursor', 'scale']
      .map(id => [id, document.getElementById(id)]));
    this.all = [];
    this.shown = [];
    this.device = null;
    /** The frame looked at; null follows the newest. */
    this.chosen = null;
    this.hovered = null;
    this.open = open;
    this.root.addEventListener('keydown', event => this.key(event));
    this.root.addEventListener('focus', () => this.tell());
    this.root.addEventListener('pointermove', event => this.hover(this.under(event)));
    this.root.addEventListener('pointerleave', () => this.hover(null));
    this.root.addEventListener('click', event => {
      const frame = this.under(event);
      if (frame) { this.choose(frame); this.open(frame); }
    });
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  update(frames, device) {
    this.all = frames;
    if (this.chosen) this.chosen = frames.find(frame => frame.key === this.chosen.key) ?? null;
    this.device = device;
    this.draw();
  }

  choose(frame) {
    this.chosen = frame === this.shown.at(-1) ? null : frame;
    this.draw();
    this.tell();
  }

  hover(frame) {
    this.hovered = frame;
    this.draw();
  }

  key(event) {
    const newest = this.shown.length - 1;
    const at = this.chosen ? this.shown.indexOf(this.chosen) : newest;
    const to = {ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - 10, PageUp: at + 10, Home: 0, End: newest, Escape: newest}[event.key];
    if (newest < 0) return;
    if (to !== undefined) this.choose(this.shown[Math.min(Math.max(to, 0), newest)]);
    else if (event.key === 'Enter') this.open(this.shown[at]);
    else return;
    event.preventDefault();
  }

  /** Tells a screen reader which frame is looked at: when asked, not whenever a frame comes. */
  tell() {
    const frame = this.chosen ?? this.shown.at(-1);
    if (!frame) return;
    this.root.setAttribute('aria-valuemax', this.shown.length - 1);
    this.root.setAttribute('aria-valuenow', this.shown.indexOf(frame));
    this.root.setAttribute('aria-valuetext', sentence(frame));
  }

  under(event) {
    const {left} = this.root.getBoundingClientRect();
    const slot = Math.floor((event.clientX - left - MARGIN.left) / this.step);
    return this.shown[slot - (this.slots - this.shown.length)] ?? null;
  }

  draw() {
    const width = this.root.clientWidth, height = this.root.clientHeight;
    if (!width) return;
    const inner = width - MARGIN.left - MARGIN.right, floor = height - MARGIN.bottom;
    this.slots = Math.min(Math.max(Math.floor(inner / SLOTS.pixels), SLOTS.least), SLOTS.most);
    this.step = inner / this.slots;
    this.shown = this.all.slice(-this.slots);
    if (this.chosen && !this.shown.includes(this.chosen)) this.chosen = this.shown[0] ?? null;

    const totals = this.shown.map(frame => nats(frame.expected_entropy) + nats(frame.mutual_information));
    const highest = Math.max(...totals, 0), most = SCALES.find(scale => scale >= highest) ?? highest;
    const y = value => floor - Math.min(value / most, 1) * (floor - MARGIN.top);
    const x = index => MARGIN.left + (this.slots - this.shown.length + index) * this.step;
    const bar = Math.max(this.step - 1, 1).toFixed(2);
    const boxes = {aleatoric: '', epistemic: '', marks: ''};
    this.shown.forEach((frame, index) => {
      const left = x(index).toFixed(2), between = y(nats(frame.expected_entropy)).toFixed(2);
      boxes.aleatoric += `M${left} ${floor}V${between}h${bar}V${floor}z`;
      boxes.epistemic += `M${left} ${between}V${y(totals[index]).toFixed(2)}h${bar}V${between}z`;
      if (frame.causes.length) boxes.marks += `M${(x(index) + this.step / 2).toFixed(2)} ${floor + 3}l-3 7h6z`;
    });
    for (const [id, path] of Object.entries(boxes)) this.paths[id].setAttribute('d', path);

    const total = limit(this.device, 'max_predictive_entropy');
    this.paths.limit.setAttribute('d', total < most ? `M${MARGIN.left} ${y(total)}H${width - MARGIN.right}` : '');
    const frame = this.hovered ?? this.chosen;
    const at = frame ? x(this.shown.indexOf(frame)) + this.step / 2 : 0;
    this.paths.cursor.setAttribute('d', at ? `M${at} ${MARGIN.top}V${height - 2}` : '');
    const read = frame ?? this.shown.at(-1);
    this.reading.textContent = read ? sentence(read) : 'No frame yet.';

    this.drawing.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const scale = [0, 0.5, 1].map(part => part * most);
    this.paths.grid.setAttribute('d', scale.map(value => `M${MARGIN.left} ${y(value)}H${width - MARGIN.right}`).join(''));
    this.paths.scale.replaceChildren(...scale.map(value => {
      const text = document.createElementNS('http://www.w3.org/2000/svg', 'text');
      text.setAttribute('x', MARGIN.left - 5);
      text.setAttribute('y', y(value) + 4);
      text.setAttribute('text-anchor', 'end');
      text.textContent = decimal(value, most < 0.5 ? 3 : 2);
      return text;
    }));
  }
}
