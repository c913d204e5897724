export const HINT = /\bretry-after=(\d{1,5})\b/;

export function patience(first = 1e3, most = 6e4, proven = 1e4) {
  let tries = 0, at, reason;
  const opened = () => (at = Date.now());
  const next = (said = reason) => {
    if (Date.now() - at >= proven) tries = 0;
    at = NaN;
    const hint = HINT.exec(said);
    if (hint) return 1e3 * hint[1];
    return Math.random() * Math.min(most, first * 2 ** tries++);
  };
  class Socket extends WebSocket {
    constructor(...a) {
      super(...a);
      this.addEventListener('open', opened);
      this.addEventListener('close', (e) => (reason = e.reason));
    }
  }
  return { Socket, opened, next };
}

export function connect(url, use) {
  const { Socket, next } = patience();
  let socket, over;
  const open = () => {
    if (over) return;
    use(socket = new Socket(url));
    socket.addEventListener('close', ({ code }) => {
      if (!/10(0[0235789]|10)/.test(code)) setTimeout(open, next());
    });
  };
  open();
  return () => socket.close(over = 1000);
}
