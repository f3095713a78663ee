// What cannot wait for the modules: the chosen theme, so that a dark page never flashes white, and the trace that the
// address names, which is asked for while the page's code is still on its way. A classic script in the head on purpose.
(function () {
  function stored(/** @type {'localStorage'|'sessionStorage'} */ storage, /** @type {string} */ name) {
    try {
      return window[storage].getItem(name);
    } catch (_) {
      // Storage may be forbidden.
      return null;
    }
  }

  // Everything else about themes is in theme.js.
  var theme = stored('localStorage', 'linchpin.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;

  // api.js takes the answer over, whatever it is.
  var query = new URLSearchParams(location.search);
  var trace = query.get('trace');
  if (trace && !query.get('view')) {
    var key = stored('sessionStorage', 'linchpin.key');
    var path = '/v1/traces/' + encodeURIComponent(trace);
    var answer = fetch(path, { headers: key ? { authorization: 'Bearer ' + key } : {} });
    answer.catch(function () {});
    /** @type {any} */ (window).linchpinEarly = { path: path, answer: answer };
  }
})();
