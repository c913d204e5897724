/** The calls of a protocol of JSON texts, as DevTools and WebDriver BiDi are both: each answer has its call's `id`. */
module.exports = (send) => {
  const calls = new Map();
  const listeners = new Map();
  let next = 1;
  return {
    call: (method, params = {}, more = {}) =>
      new Promise((resolve, reject) => {
        calls.set(next, { resolve, reject });
        send(JSON.stringify({ id: next, method, params, ...more }));
        next += 1;
      }),
    on: (method, listener) => listeners.set(method, listener),
    once: (method) => new Promise((resolve) => listeners.set(method, resolve)),
    /** Takes in what the other side has sent. */
    receive: (text) => {
      const { id, method, params, result, error } = JSON.parse(text);
      if (method) listeners.get(method)?.(params);
      else if (error) calls.get(id)?.reject(new Error(text));
      else calls.get(id).resolve(result);
      calls.delete(id);
    },
  };
};
