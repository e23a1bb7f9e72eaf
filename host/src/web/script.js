// The page of `host monitor --web`: takes the monitor's stream of events and shows it.
// Whatever a device says enters the document as text, never as markup.

import {TimeLine} from './timeline.js';
import {CAUSES, MEASURES, causeNames, className, clock, count, decimal, kibibytes, limit, measure, milliseconds, percent, uptime} from './words.js';

/** What is kept: frames for the time line, flagged frames for the list. */
const KEEP = {frames: 600, flags: 500};
const LISTED = 200, PICTURED = 24, TABLED = 20;
const ANNOUNCE_MS = 5000;
/** The monitor says something every second; after so long without it is taken for lost. */
const LOST_MS = 5000;
const RECONNECT_MS = 1000;

const $ = id => document.getElementById(id);
const still = matchMedia('(prefers-reduced-motion: reduce)');

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in node) node[name] = value; else node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Makes the children of `parent` those of `items`, in order, keeping the nodes of items that stay. */
function reconcile(parent, items, key, make, update = () => {}) {
  const old = new Map([...parent.children].map(node => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = old.get(name);
    old.delete(name);
    if (!node) (node = make(item)).dataset.key = name;
    if (node === place) place = place.nextElementSibling; else parent.insertBefore(node, place);
    update(node, item);
  }
  for (const node of old.values()) node.remove();
}

const pairs = (list, entries) => reconcile(list, entries, ([term]) => term,
  ([term]) => element('div', {}, element('dt', {textContent: term}), element('dd')),
  (node, [, value, bad]) => {
    if (node.lastChild.textContent !== value) node.lastChild.textContent = value;
    node.classList.toggle('bad', Boolean(bad));
  });

// What the monitor said last, and the frozen copy that is looked at during a pause.
let live = {frames: [], flags: [], pictures: new Set()}, frozen = null;
let selected = null, heard = performance.now(), drawn = 0;
const shown = () => frozen ?? live;

const line = new TimeLine(frame => select(frame, true));

function take(told, whole) {
  // Another monitor may serve the same address later, and count its frames from 0, too.
  const key = index => `${told.began_ms}-${index}`;
  for (const part of [told.frames, told.flags ?? [], told.words])
    for (const item of part) {
      item.at = told.began_ms + 1000 * item.at_s;
      item.key = key(item.index ?? `${item.at_s} ${item.words}`);
    }
  // An update brings what is new alone.
  const fresh = told.flags ?? told.frames.filter(frame => frame.causes.length);
  const join = (old, items, most) => whole ? items : old.concat(items).slice(-most);
  live = {
    ...told,
    frames: join(live.frames, told.frames, KEEP.frames),
    flags: join(live.flags, fresh, KEEP.flags),
    pictures: new Set(told.pictures.map(key)),
  };
  if (!whole) announce(fresh);
  schedule();
}

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  const wait = still.matches ? Math.max(0, 1000 - (performance.now() - drawn)) : 0;
  setTimeout(() => requestAnimationFrame(() => { scheduled = false; drawn = performance.now(); render(); }), wait);
}

function render() {
  const now = shown();
  if (!now.version) return;
  // A pause is for the frames; what is going on shows all the same.
  header(live);
  health(live);
  if (!frozen) line.update(now.frames, now.device);
  if ($('figures').open) table(now);
  options(now);
  feed(now);
  strip(now);
  if (selected && !$('picture') && now.pictures.has(selected.key)) detail();
}

/** Whether a device is heard. Silence is what is long for its rate; it greets every 10 s even without frames. */
function signal({ended, link, recent}) {
  const {silent_s} = link;
  if (ended) return ['ended', 'the stream ended'];
  if (silent_s === null) return ['waiting', 'no signal yet'];
  const usual = recent.frames_per_second ? 5 / recent.frames_per_second : Infinity;
  if (silent_s > Math.min(Math.max(usual, 3), 12)) return ['silent', `no signal for ${Math.round(silent_s)} s`];
  return ['live', 'receiving'];
}

function header(now) {
  const {device, source, totals, version} = now, [state, said] = signal(now), link = $('link');
  $('device').textContent = device ? device.name || 'A device without a name' : 'Waiting for a device';
  document.title = `${device?.name ?? 'mcdropout'}: ${count(totals.flagged)} flagged`;
  // A count that goes up every second is not announced every second: the state is.
  link.setAttribute('aria-live', link.dataset.state === state ? 'off' : 'polite');
  link.dataset.state = state;
  if (link.textContent !== said) link.textContent = said;
  pairs($('facts'), [
    ['model', device?.model ?? '–'],
    ['engine', device?.engine ?? '–'],
    ['passes', device ? `at most ${count(device.passes)}` : '–'],
    ['input', device?.input.join(' × ') ?? '–'],
    ['sees', device?.sees ?? '–'],
    ['software', device?.software ?? '–'],
    ['from', source],
  ]);
  $('version').textContent = version;
}

function table({frames}) {
  reconcile($('rows'), frames.slice(-TABLED).reverse(), frame => frame.key, frame => element('tr', {},
    element('th', {scope: 'row', textContent: frame.frame}), element('td', {textContent: className(frame)}),
    ...['expected_entropy', 'mutual_information', 'predictive_entropy'].map(name => element('td', {textContent: decimal(frame[name])})),
    element('td', {textContent: causeNames(frame)})));
}

function options({device, flags}) {
  const choices = (select, names) => reconcile(select, [['', 'any'], ...names], ([value]) => value,
    ([value, text]) => element('option', {value, textContent: text}));
  if ($('cause').options.length === 1) choices($('cause'), Object.keys(CAUSES).map(name => [name, name]));
  const classes = new Map((device?.labels ?? []).map((label, index) => [index, label]));
  for (const frame of flags) if (!classes.has(frame.class)) classes.set(frame.class, className(frame));
  choices($('class'), [...classes].sort(([a], [b]) => a - b));
}

function matching({flags}) {
  const cause = $('cause').value, label = $('class').value;
  const words = $('text').value.toLowerCase().split(/\s+/).filter(Boolean);
  return flags.filter(frame => {
    const text = `${frame.frame} ${className(frame)} ${frame.causes.join(' ')}`.toLowerCase();
    return (!cause || frame.causes.includes(cause)) && (!label || String(frame.class) === label) && words.every(word => text.includes(word));
  }).reverse();
}

function feed(now) {
  const found = matching(now), listed = found.slice(0, LISTED), list = $('feed');
  reconcile(list, listed, frame => frame.key, frame => element('li', {id: `flag-${frame.key}`, role: 'option', 'aria-selected': 'false'},
    element('span', {className: 'when', textContent: clock(frame.at)}),
    element('span', {textContent: `frame ${frame.frame}: ${className(frame)}`}),
    element('span', {className: 'nats', textContent: `${decimal(frame.predictive_entropy, 2)} nats`}),
    element('span', {className: 'causes'}, element('b', {textContent: frame.causes[0]}),
      frame.causes.slice(1).map(name => `, ${name}`).join(''))),
    (node, frame) => node.setAttribute('aria-selected', String(frame.key === selected?.key)));
  if (listed.some(frame => frame.key === selected?.key)) list.setAttribute('aria-activedescendant', `flag-${selected.key}`);
  else list.removeAttribute('aria-activedescendant');
  const filtered = $('cause').value || $('class').value || $('text').value;
  $('empty').hidden = found.length > 0;
  $('empty').textContent = filtered && now.flags.length ? 'No flagged frame is like that.' : 'No flagged frame yet.';
  const told = `${count(found.length)} of the last ${count(now.flags.length)} flagged frames${found.length > LISTED ? `, the newest ${LISTED} listed` : ''}`;
  if ($('count').textContent !== told) $('count').textContent = told;
}

const address = frame => `frames/${frame.index}.png`;

function strip({flags, pictures}) {
  const framed = flags.filter(frame => pictures.has(frame.key)).slice(-PICTURED).reverse();
  reconcile($('strip'), framed, frame => frame.key, frame => element('li', {}, element('button', {type: 'button', onclick: () => select(frame, true)},
    element('img', {src: address(frame), alt: `frame ${frame.frame}: ${className(frame)}, ${causeNames(frame)}`, width: 64, height: 64}))),
  (node, frame) => node.firstChild.setAttribute('aria-current', String(frame.key === selected?.key)));
}

// Where the keyboard was before it went to a frame's measures.
let origin = null;
function read() {
  origin = document.activeElement;
  $('detail-title').focus();
}

/** Shows a frame's measures; with `go`, takes the keyboard there. */
function select(frame, go) {
  selected = frame;
  feed(shown());
  strip(shown());
  detail();
  document.getElementById(`flag-${frame.key}`)?.scrollIntoView({block: 'nearest'});
  if (go) read();
}

function detail() {
  const frame = selected, {device, pictures} = shown();
  $('detail-title').textContent = `Frame ${frame.frame}: ${className(frame)}`;
  const causes = frame.causes.map(name => {
    const [field, bound, meaning] = CAUSES[name] ?? [];
    const crossed = limit(device, bound);
    const figures = crossed === undefined ? '' : ` (${decimal(measure(frame, field))}, limit ${decimal(crossed)})`;
    return element('li', {}, element('b', {textContent: name}), `${figures}: ${meaning ?? 'a cause that this page does not know.'}`);
  });
  const limits = Object.fromEntries(Object.values(CAUSES).map(([field, bound]) => [field, [bound, limit(device, bound)]]));
  const rows = MEASURES.map(([field, name, unit, meaning]) => {
    const [bound, value] = limits[field] ?? [];
    const places = Number.isInteger(measure(frame, field)) && field === 'passes' ? 0 : 4;
    return element('tr', {}, element('th', {scope: 'row', textContent: name}),
      element('td', {}, `${decimal(measure(frame, field), places)} ${unit}`, element('small', {textContent: meaning}),
        ...value === undefined ? [] : [element('small', {textContent: `flagged ${bound.startsWith('max_') ? 'above' : 'below'} ${decimal(value, 4)}`})]));
  });
  const picture = pictures.has(frame.key)
    ? [element('img', {id: 'picture', src: address(frame), alt: `frame ${frame.frame} as the model saw it`})] : [];
  $('detail-body').replaceChildren(...picture,
    element('p', {textContent: `${frame.causes.length ? 'Flagged' : 'Accepted'}; taken ${uptime(frame.captured_us)} after the device started, `
      + `judged ${milliseconds(frame.latency_us)} later, of which it waited ${milliseconds(frame.age_us)}; received at ${clock(frame.at)}.`}),
    ...causes.length ? [element('ul', {className: 'causes'}, ...causes)] : [],
    element('table', {}, element('caption', {textContent: 'Measures'}), element('tbody', {}, ...rows)));
}

function health({totals, recent, causes, link, told, performance: device, words}) {
  const [p50, p95, p99] = device?.latency_us ?? Object.values(recent.latency_us ?? {});
  pairs($('health'), [
    ['frames received', count(totals.frames)],
    ['flagged', percent(totals.flagged, totals.frames)],
    ['frames a second', decimal(recent.frames_per_second, 1)],
    ['latency, median', milliseconds(p50)],
    ['latency, 95 % within', milliseconds(p95)],
    ['latency, 99 % within', milliseconds(p99)],
    ['frames captured', count(device?.captured)],
    ['dropped for newer ones', count(device?.dropped)],
    ['damaged or missed', count(device && device.corrupt + device.missed), device?.corrupt + device?.missed > 0],
    ['camera came back', count(device?.reconnects), device?.reconnects > 0],
    ['failed on the device', count(told?.failed), told?.failed > 0],
    ['temperature', device?.temperature == null ? '–' : `${decimal(device.temperature, 1)} °C`],
    ['processor', device ? percent(device.processor, 1) : '–'],
    ['memory at most', kibibytes(device?.peak_memory_kib)],
    ['messages lost', count(link.lost), link.lost > 0],
    ['messages corrupt', count(link.corrupt + link.incompatible), link.corrupt + link.incompatible > 0],
    ['bytes discarded', count(link.discarded_bytes), link.discarded_bytes > 0],
    ['device restarts', count(link.restarts), link.restarts > 0],
  ]);
  const most = Math.max(...causes.map(({total}) => total), 1);
  reconcile($('causes'), causes, ({cause}) => cause,
    ({cause}) => element('li', {}, element('span', {textContent: cause}), element('i'), element('span')),
    (node, {total}) => {
      const [, bar, number] = node.children;
      bar.style.width = `${100 * total / most}%`;
      number.textContent = count(total);
    });
  $('no-notices').hidden = words.length > 0;
  reconcile($('notices'), [...words].reverse(), notice => notice.key,
    notice => element('li', {className: notice.failure ? 'failure' : '', textContent: `${clock(notice.at)} ${notice.words}`}));
}

// Announcements: of what came since the last one, and rarely.
let unannounced = [], timer = null;
function announce(flags) {
  if (frozen || !$('announce').checked) return;
  unannounced.push(...flags);
  if (timer || !unannounced.length) return;
  timer = setTimeout(() => {
    timer = null;
    const last = unannounced.at(-1), number = unannounced.length;
    unannounced = [];
    if (!frozen) $('announcement').textContent = `${number} new flag${number > 1 ? 's' : ''}, last: frame ${last.frame}, ${className(last)}, ${causeNames(last)}`;
  }, $('announcement').textContent ? ANNOUNCE_MS : 0);
}

// The stream. A browser's own reconnecting gives up on some errors, so that a new one is made here.
function connect() {
  const events = new EventSource('events');
  const read = whole => event => {
    heard = performance.now();
    $('banner').hidden = true;
    take(JSON.parse(event.data), whole);
  };
  events.addEventListener('state', read(true));
  events.addEventListener('update', read(false));
  events.onerror = () => {
    events.close();
    lost();
    setTimeout(connect, RECONNECT_MS);
  };
}

function lost() {
  if (!$('banner').hidden) return;
  $('banner').textContent = 'The monitor does not answer: what is shown is no longer live. Trying again…';
  $('banner').hidden = false;
}

setInterval(() => { if (performance.now() - heard > LOST_MS) lost(); }, 1000);

// Controls.
function pause() {
  frozen = frozen ? null : {...live};
  $('pause').setAttribute('aria-pressed', String(Boolean(frozen)));
  $('pause').textContent = frozen ? 'Go on' : 'Pause';
  render();
}
$('pause').addEventListener('click', pause);
$('help-open').addEventListener('click', () => $('help').showModal());
$('figures').addEventListener('toggle', () => { if (shown().version) table(shown()); });
$('filter').addEventListener('input', () => {
  feed(shown());
  $('announcement').textContent = $('count').textContent;
});
$('filter').addEventListener('submit', event => event.preventDefault());
// The fields are empty only after the event.
$('filter').addEventListener('reset', () => setTimeout(() => feed(shown())));
$('feed').addEventListener('click', event => {
  const frame = matching(shown()).find(frame => `flag-${frame.key}` === event.target.closest('li')?.id);
  if (frame) select(frame, false);
});
$('feed').addEventListener('focus', () => {
  const listed = matching(shown());
  if (listed.length && !listed.some(frame => frame.key === selected?.key)) select(listed[0], false);
});
$('feed').addEventListener('keydown', event => {
  const listed = matching(shown()).slice(0, LISTED), last = listed.length - 1;
  const at = listed.findIndex(frame => frame.key === selected?.key);
  const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 10, PageUp: at - 10, Home: 0, End: last}[event.key];
  if (last < 0) return;
  if (to !== undefined) select(listed[Math.min(Math.max(to, 0), last)], false);
  else if (event.key === 'Enter' && at >= 0) read();
  else return;
  event.preventDefault();
});
$('detail').addEventListener('keydown', event => {
  if (event.key === 'Escape') if (origin?.isConnected) origin.focus(); else toFeed();
});
$('text').addEventListener('keydown', event => {
  if (event.key === 'Escape') { $('text').value = ''; feed(shown()); }
});

const toFeed = () => ($('feed').children.length ? $('feed') : $('flags')).focus();
const KEYS = {'p': pause, 't': () => $('line').focus(), 'f': toFeed, '/': () => $('text').focus(), '?': () => $('help').showModal()};
document.addEventListener('keydown', event => {
  const typing = event.target.closest('input, select, textarea, dialog');
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !$('shortcuts').checked || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

connect();
