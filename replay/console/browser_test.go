package console

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// TestBrowser drives the console in Chromium by browser_test.mjs. With SALLYPORT_SHOTS=DIR it also takes
// screenshots of every page, in light and dark, at the width of a laptop and of a phone.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no browser")
	}
	chromium := need(t, "Chromium", os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
	need(t, "the driver of the browser", "node_modules/playwright-core/package.json")
	need(t, "the player", "static/vendor/asciinema-player.js")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: run `make test`, which sets up what tests need")
	}

	f := newFixture(t)
	f.seed()
	results := map[string]<-chan error{}
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Justification = "Disk at 97 %, the old release is not served any more."
	_, results["k7m2w9qx"] = f.ask(h)
	h = f.removal("hz4t8n2c", "psql -h db1 shop -c 'update prices set net = net * 1.02\n  where valid_from >= now()'\u200b\u202e # safe")
	h.Target, h.Terms.Reason, h.Terms.Grant = policies.Target{Name: "db1", Kind: "postgres"}, true, time.Hour
	h.Facts = map[string]any{"classes": []string{"write"}, "programs": []string{"psql"}, "opaque": true, "hosts": []string{"db1"}, "unbounded": false}
	_, results["hz4t8n2c"] = f.ask(h)
	h = f.removal("p3xv6d1y", "systemctl stop checkout")
	h.Principal, h.Facts = f.principal("grace"), map[string]any{"classes": []string{"privilege"}, "programs": []string{"systemctl"}}
	_, results["p3xv6d1y"] = f.ask(h)

	control := httptest.NewServer(f.control(results))
	t.Cleanup(control.Close)
	cmd := exec.CommandContext(t.Context(), node, "browser_test.mjs")
	cmd.Env = append(os.Environ(), "CONSOLE_URL="+f.url, "CONTROL_URL="+control.URL, "CHROMIUM="+chromium, "PROFILE="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("browser: %v\n--- the console's log\n%s", err, f.log)
	}
}

// need returns the first of paths that exists.
func need(t testing.TB, what string, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if p == "" {
			continue
		}
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatalf("%s is not installed (%s): run `make test`, which sets up what tests need", what, filepath.ToSlash(paths[len(paths)-1]))
	return ""
}

// control lets the script do what happens at a gate while somebody looks at the console.
func (f *fixture) control(results map[string]<-chan error) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /ask/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, result := f.ask(f.removal(r.PathValue("id"), r.FormValue("command")))
		results[id] = result // the script asks for one thing at a time
	})
	m.HandleFunc("GET /result/{id}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case err := <-results[r.PathValue("id")]:
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		case <-r.Context().Done():
		}
	})
	m.HandleFunc("POST /live/{id}", func(w http.ResponseWriter, r *http.Request) {
		var line bytes.Buffer
		line.WriteString(`[0.1,"o",` + r.FormValue("json") + "]\n")
		f.shelf.add(r.PathValue("id"), line.Bytes(), false)
	})
	m.HandleFunc("POST /truncate/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.shelf.mu.Lock()
		defer f.shelf.mu.Unlock()
		tp := f.shelf.byID[r.PathValue("id")]
		tp.data = bytes.TrimRight(tp.data, "\n")
		tp.data = append(tp.data[:len(tp.data)-len(tp.data)/3], `[0.5,"o","cut in the mid`...)
	})
	m.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(strings.TrimSpace(f.log.String())))
	})
	return m
}
