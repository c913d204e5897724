'use strict';

// Opens sessions two at a time, one through the tunnel and one through tidegate, and shows what their onclose got.
// What a test wants to know stands in the attributes of the cells: data-side, data-state, data-code, data-clean,
// data-reason.

const SIDES = ['tunnel', 'tidegate'];
const ROWS = 6;

const SCENES = {
  calm: 'The backend is well.',
  crash: 'The backend has crashed. It is back in a moment.',
  overload: 'The backend is overloaded: it refuses newcomers with 503. Open sessions go on.',
  freeze: 'The backend is frozen: its connections stand, but it neither reads nor writes.',
  restart: 'Another backend takes over; the old one ends.',
};

const LABELS = {
  close: ['The page closes', 'socket.close(1000, "done")'],
  app: ['The backend closes', 'with a code of its own'],
  crash: ['The backend crashes', 'no Close from it'],
  freeze: ['The backend freezes', 'but stays connected'],
  restart: ['The backend restarts', 'a rolling restart'],
  newcomer: ['A newcomer', 'while it is overloaded'],
};

/** What tidegate's own words say more precisely than its codes. */
const CAUSES = {
  rebalance: 'The backend is being replaced; its successor is there.',
  restarting: 'tidegate ends, and will be back.',
  overloaded: 'tidegate’s limit is reached; no place came free.',
  'upstream-overloaded': 'The backend refuses; no place came free.',
  'no-upstream': 'The backend is away, and did not come back in time.',
  'upstream-timeout': 'The backend answers no ping any more.',
};

/** A session is called silent when it has heard nothing for so long. The backend's clock ticks every second. */
const SILENT_MS = 2500;

const $ = (id) => document.getElementById(id);
const pairs = [];
let state;

/** An element with a class and a text. Texts never become markup. */
function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** What a close means, and what a client should do about it. */
function meaning(code, reason, opened) {
  if (code === 1006) {
    return opened
      ? ['no Close', 'The connection is gone, and nobody says why.', 'guess: network, crash, restart, limit?']
      : ['no Close', 'No session, and no script may see why.', 'guess: wrong address, no access, overload?'];
  }
  if (code >= 4000) return ['the application’s', 'The backend’s own words, unchanged.', 'do what they say.'];
  const hint = /(?:^|;\s*)retry-after=(\d{1,5})(?:;|$)/.exec(reason);
  const back = hint
    ? `come back in ${hint[1]} s, as the hint says; then double.`
    : 'come back after a random wait; then double.';
  const cause = reason.split(';')[0];
  const [name, means, advice] = {
    1000: ['normal', 'The backend itself answered this Close.', 'nothing to do.'],
    1001: ['going away', 'What was here will not be back.', 'do not come back.'],
    1005: ['no code', 'An empty Close.', 'nothing to do.'],
    1011: ['internal error', 'The other end failed.', back],
    1012: ['service restart', 'What served this session ends.', back],
    1013: ['try again later', 'No room now, nor during a wait for some.', back],
    1014: ['bad gateway', 'The backend was lost behind the proxy.', back],
  }[code] ?? ['', '', back];
  return [name, CAUSES[cause] ?? means, advice];
}

/** Two sessions and the row that shows them. */
class Pair {
  constructor(number, kind) {
    this.number = number;
    this.row = element('li', 'row');
    this.what = element('div', 'what');
    this.row.append(this.what);
    this.label(kind);
    this.sides = Object.fromEntries(SIDES.map((side) => [side, new Session(this, side)]));
    $('pairs').prepend(this.row);
  }

  /** Says what is done to it. */
  label(kind) {
    this.row.dataset.kind = kind;
    const [what, how] = LABELS[kind] ?? [`Session ${this.number}`, 'nothing done to it'];
    this.what.replaceChildren(element('b', '', what), element('span', '', how));
  }

  get open() {
    return SIDES.every((side) => this.sides[side].state === 'open');
  }

  get over() {
    return SIDES.every((side) => this.sides[side].state === 'closed');
  }
}

/** One WebSocket and the cell that shows it. */
class Session {
  constructor(pair, side) {
    this.cell = element('div', 'cell');
    this.cell.dataset.side = side;
    pair.row.append(this.cell);
    this.settled = new Promise((resolve) => { this.settle = resolve; });
    this.show('connecting', ['…', 'connecting', '']);
    // The value of the query is a secret, as tokens are: see the access log.
    this.socket = new WebSocket(`ws://${location.hostname}:${state.ports[side]}/?token=secret`);
    this.socket.onopen = () => {
      this.opened = true;
      this.heard = Date.now();
      this.show('open', ['open', '', '']);
      this.socket.send('hello');
      this.settle();
    };
    this.socket.onmessage = ({ data }) => {
      this.heard = Date.now();
      if (this.state === 'open') this.show('open', ['open', `“${data}”`, '']);
    };
    this.socket.onclose = ({ code, reason, wasClean }) => {
      Object.assign(this.cell.dataset, { code, reason, clean: wasClean });
      const [name, means, advice] = meaning(code, reason, this.opened);
      this.show('closed', [String(code), name, `wasClean ${wasClean}`], reason || '(no reason)', means, advice);
      this.settle();
      soon();
    };
  }

  /** Says how long an open session has heard nothing. */
  listen() {
    const silent = Date.now() - this.heard;
    if (this.state === 'open' && silent > SILENT_MS) {
      this.show('open', ['open', `silent for ${Math.floor(silent / 1000)} s`, '']);
    }
  }

  show(kind, [code, name, clean], reason, means, advice) {
    this.state = this.cell.dataset.state = kind;
    const top = element('div', 'top');
    top.append(element('span', 'code', code), element('span', 'name', name), element('span', 'was-clean', clean));
    this.cell.replaceChildren(element('span', 'via', `through ${this.cell.dataset.side}`), top);
    if (means === undefined) return;
    this.cell.append(element('p', 'reason', reason), element('p', 'means', means), element('p', 'advice', advice));
  }
}

function openPair(kind) {
  const pair = new Pair((pairs.at(-1)?.number ?? 0) + 1, kind);
  pairs.push(pair);
  const spare = pairs.length > ROWS ? pairs.findIndex((old) => old.over) : -1;
  if (spare >= 0) pairs.splice(spare, 1)[0].row.remove();
  return pair;
}

/** The newest pair that is open on both sides, or a new one. */
async function anOpenPair() {
  const open = pairs.findLast((pair) => pair.open);
  if (open) return open;
  const pair = openPair('open');
  await Promise.all(SIDES.map((side) => pair.sides[side].settled));
  return pair;
}

async function act(what) {
  if (what === 'open') return openPair('open');
  const pair = await anOpenPair();
  if (what === 'close' || what === 'app') {
    pair.label(what);
    for (const side of SIDES) {
      const { socket } = pair.sides[side];
      if (what === 'close') socket.close(1000, 'done');
      else if (socket.readyState === WebSocket.OPEN) socket.send('close 4001 signed out elsewhere');
    }
    return;
  }
  // By the time of the answer they may have ended.
  const open = pairs.filter((each) => each.open);
  await inTurn(async () => {
    const answer = await fetch(`/scene/${what}`, { method: 'POST' });
    if (!answer.ok) return;
    tellScene(what, SCENES[what]);
    if (what === 'overload') openPair('newcomer');
    else open.forEach((each) => each.label(what));
  });
  await look();
}

let turn = Promise.resolve();
/** One after the other, so that a look from before a scene does not say that all is calm. */
function inTurn(work) {
  const done = turn.then(work);
  turn = done.catch(() => {});
  return done;
}

for (const button of document.querySelectorAll('button')) {
  button.addEventListener('click', async () => {
    // Unreachable: the next look says so.
    await act(button.dataset.do).catch(() => {});
  });
}

/** Brings everything but the sessions up to date. */
const look = () => inTurn(async () => {
  pairs.forEach((pair) => SIDES.forEach((side) => pair.sides[side].listen()));
  try {
    state = await (await fetch('/state')).json();
  } catch {
    tellScene('', 'The demo has ended: start it again with “tidegate demo”.');
    return;
  }
  tellScene(state.scene, SCENES[state.scene]);
  $('metrics').textContent = state.metrics.map(shortened).join('\n') || '(none yet)';
  $('all').href = state.metrics_url;
  $('configuration').textContent = state.configuration;
  if (state.log.length === 0) return;
  $('raw').textContent = JSON.stringify(state.log[0]);
  $('log').replaceChildren(...state.log.map(logRow));
});

function tellScene(scene, text) {
  const line = $('scene').parentElement;
  if ($('scene').textContent !== text) $('scene').textContent = text;
  line.dataset.scene = scene;
  for (const button of document.querySelectorAll('button')) {
    button.disabled = scene === '' || (scene !== 'calm' && button.classList.contains('fault'));
  }
}

/** A sample without what is the same in all of them here. */
function shortened(sample) {
  return sample
    .replace(/^tidegate_/, '')
    .replace(/(?:listener|route|upstream)="[^"]*",?|reason="none",?/g, '')
    .replace(/,\}/, '}')
    .replace('{}', '');
}

function logRow(line) {
  const told = (leg) => leg?.sent?.code ?? (leg?.sent ? 'empty' : '–');
  const client = line.legs ? told(line.legs.client) : `hint ${line.hint_s ?? '–'} s`;
  const row = document.createElement('tr');
  const cells = [line.ts.slice(11, 19), line.id, line.verdict, line.cause, client, told(line.legs?.upstream)];
  row.append(...cells.map((text) => element('td', '', text)));
  return row;
}

let looking;
/** Looks after this time, by default as soon as a line is in the log, and from then on every second. */
function soon(wait = 150) {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    await look();
    soon(1000);
  }, wait);
}

look().then(() => {
  if (state) openPair('open');
  soon(1000);
});
