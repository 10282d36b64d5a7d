// One connection for all tabs of a browser: over HTTP/1.1 a browser opens six to a host, and a feed a
// tab would stop the seventh. A SharedWorker; `greenroom.js` falls back where there is none.
const ports = new Set();
let source = null;
let open = false;

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function connect(url) {
  if (source !== null) return;
  source = new EventSource(url);
  source.addEventListener("open", () => { open = true; tell({ live: true }); });
  source.addEventListener("change", (event) => tell({ change: JSON.parse(event.data) }));
  source.addEventListener("error", () => {
    open = false;
    tell({ live: false });
    if (source.readyState === EventSource.CLOSED) { // refused, as after a log-out: later again
      source = null;
      setTimeout(() => connect(url), 5000);
    }
  });
}

self.onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = (message) => {
    if (message.data.url) {
      ports.add(port);
      connect(message.data.url);
      port.postMessage({ live: open });
    }
    if (message.data.bye) ports.delete(port);
  };
  port.start();
};
