// Sets the chosen theme before the first paint, so that a dark page never flashes white. A classic script in the
// head on purpose: modules run too late. Everything else about themes is in theme.js.
(function () {
  try {
    var chosen = localStorage.getItem('linchpin.theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch (_) {
    // Storage may be forbidden; the system's theme then applies.
  }
})();
