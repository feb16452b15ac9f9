// The code stands in the fragment, which browsers send to nobody; it goes to the server in a POST and leaves the address bar.

const form = document.getElementById("login");
const failure = document.getElementById("error");

async function login(code) {
  failure.hidden = true;
  const answer = await fetch("/v1/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (answer.ok) {
    const next = new URLSearchParams(location.search).get("next") || "/";
    // Only paths of our own: "//elsewhere" and "/\elsewhere" would leave this server.
    location.replace(/^\/(?![/\\])/.test(next) ? next : "/");
    return;
  }
  const problem = await answer.json().catch(() => ({}));
  failure.textContent = answer.status === 422 ? "This does not look like a code." : problem.detail || "The server does not answer.";
  failure.hidden = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  login(form.code.value.trim());
});

function fromFragment() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  login(code);
}

addEventListener("hashchange", fromFragment);
fromFragment();
