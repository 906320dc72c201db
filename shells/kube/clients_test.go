package kube

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// find returns the requests that were asked about and that f chooses.
func (w *witness) find(f func(*kube.Request) bool) (found []*kube.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.asked {
		if f(r) {
			found = append(found, r)
		}
	}
	return found
}

// TestEveryday: the commands of those who run things on a cluster, with types that no program here knows.
func TestEveryday(t *testing.T) {
	g := newGate(t)
	backup := func(keep int) string {
		return fmt.Sprintf("apiVersion: shop.example.com/v1\nkind: Backup\nmetadata: {name: weekly, labels: {set: a}}\nspec: {schedule: '0 4 * * 0', keep: %d, token: ghp_%s}\n", keep, strings.Repeat("16C7e42F", 4)+"AbCd")
	}
	for _, c := range []struct {
		args, stdin string
		code        int
		has, not    []string
	}{
		{"get backups", "", 0, []string{"NAME", "nightly", "0 3 * * *"}, nil},
		{"explain backup.spec", "", 0, []string{"schedule", "keep"}, nil},
		{"apply --server-side --dry-run=server -f -", backup(3), 0, []string{"weekly serverside-applied (server dry run)"}, nil},
		{"get backup weekly", "", 1, []string{"not found"}, nil},
		{"diff -f -", backup(3), 1, []string{"+  keep: 3"}, []string{"16C7e42F16C7"}},
		{"apply --server-side -f -", backup(3), 0, []string{"weekly serverside-applied"}, nil},
		{"apply --server-side -f -", backup(4), 0, []string{"weekly serverside-applied"}, nil},
		{"get backup weekly -o yaml --show-managed-fields", "", 0, []string{"keep: 4", "managedFields", "f:schedule"}, []string{"16C7e42F16C7"}},
		{"wait backup weekly --for=jsonpath={.spec.keep}=4 --timeout=20s", "", 0, []string{"condition met"}, nil},
		{"apply -f - --prune -l set=b --prune-allowlist=core/v1/ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, labels: {set: b}}\n", 0, []string{"kept created"}, nil},
		{"apply -f - --prune -l set=b --prune-allowlist=core/v1/ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, labels: {set: b}}\n", 0, []string{"kept pruned"}, nil},
		{"rollout status deploy web --watch=false", "", 0, []string{"Waiting for deployment"}, nil},
		{"rollout restart deploy web", "", 0, []string{"restarted"}, nil},
		{"auth can-i --list", "", 0, []string{"Resources", "*.*"}, nil},
		{"top pods", "", 1, []string{"Metrics API not available"}, nil},
		{"get secret db -o jsonpath={.data.password}", "", 0, []string{"KioqKioqKio="}, nil},
		{"get secret db -o go-template={{.data.password|base64decode}}", "", 0, []string{"********"}, []string{"Tr0ub4dor"}},
		{"get secrets,cm -o yaml", "", 0, []string{"KioqKioqKio=", "port = 8080"}, []string{"VHIwdWI0", "Tr0ub4dor"}},
		{"describe secret db", "", 0, []string{"password:  8 bytes"}, nil},
		{"debug web-0 --image=busybox --target=web", "", 0, []string{"Defaulting debug container name"}, nil},
		{"create -f -", "apiVersion: v1\nkind: Event\nmetadata: {name: e1}\ninvolvedObject: {kind: Pod, name: web-0, namespace: web}\nreason: Login\nmessage: by anna.schmidt@example.com\n", 0, []string{"e1 created"}, nil},
		{"get events", "", 0, []string{"Login", "by a***"}, []string{"anna.schmidt"}},
		{"delete backup weekly", "", 0, []string{"deleted"}, nil},
	} {
		out, code := g.kubectl(t, c.stdin, strings.Fields(c.args)...)
		if code != c.code {
			t.Errorf("kubectl %s: exit status %d\n%s", c.args, code, out)
		}
		for _, s := range c.has {
			if !strings.Contains(out, s) {
				t.Errorf("kubectl %s: no %q in\n%s", c.args, s, out)
			}
		}
		for _, s := range c.not {
			if strings.Contains(out, s) {
				t.Errorf("kubectl %s shows %q:\n%s", c.args, s, out)
			}
		}
	}
	for what, f := range map[string]func(*kube.Request) bool{
		"a dry run": func(r *kube.Request) bool { return r.DryRun && r.Resource == "backups" && r.Verb == "patch" },
		"a container in a pod": func(r *kube.Request) bool {
			return r.Subresource == "ephemeralcontainers" && strings.Contains(strings.Join(r.Classes, " "), "privilege")
		},
		"a deletion of a custom type": func(r *kube.Request) bool { return r.Group == "shop.example.com" && r.Verb == "delete" },
	} {
		if len(g.find(f)) == 0 {
			t.Errorf("nobody was asked about %s", what)
		}
	}
}

// TestLarge: objects as large as they may be come back whole, or hidden whole.
func TestLarge(t *testing.T) {
	g := newGate(t)
	file := filepath.Join(t.TempDir(), "big")
	text := strings.Repeat("alpha \"quoted\" \\ äöü line\n", 30000)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	for _, kind := range []string{"cm", "secret generic"} {
		if out, code := g.kubectl(t, "", append(strings.Fields("create "+kind+" big"), "--from-file=big="+file)...); code != 0 {
			t.Fatal(out)
		}
	}
	if out, _ := g.kubectl(t, "", "get", "cm", "big", "-o", "jsonpath={.data.big}"); out != text {
		t.Errorf("%d bytes of %d came back", len(out), len(text))
	}
	if out, _ := g.kubectl(t, "", "get", "secret", "big", "-o", "jsonpath={.data}"); out != `{"big":"KioqKioqKio="}` {
		t.Errorf("%.200s", out)
	}
}

// client speaks HTTP/2, or HTTP/1.1, with the gate.
func (g *gate) client(t *testing.T, http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.ca, ServerName: "k8s"}, ForceAttemptHTTP2: http2, MaxConnsPerHost: 16}
	if !http2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestCredentials: nothing that a client says makes it somebody else, whatever the protocol.
func TestCredentials(t *testing.T) {
	token, err := cluster.Kubectl(t.Context(), nil, "create", "token", "sallyport-developer", "-n", "web")
	must(t, err)
	bearer := strings.TrimSpace(string(token))
	g := newGate(t)
	g.id.Store(&Identity{User: "stranger", Session: "s2"})
	for _, http2 := range []bool{true, false} {
		c := g.client(t, http2)
		for name, h := range map[string]http.Header{
			"token":       {"Authorization": {"Bearer " + bearer}},
			"password":    {"Authorization": {"Basic YWRtaW46YWRtaW4="}},
			"proxy":       {"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}},
			"impersonate": {"Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"}},
			"extra":       {"Impersonate-Extra-Sallyport-Session": {"another"}},
			"uid":         {"Impersonate-Uid": {"1"}},
		} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+g.addr+"/api/v1/namespaces/web/pods", nil)
			must(t, err)
			r.Header = h
			resp, err := c.Do(r)
			must(t, err)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "stranger") && !strings.Contains(string(body), "nobody is somebody else") {
				t.Errorf("%s, HTTP/%d: %s %s", name, resp.ProtoMajor, resp.Status, body)
			}
			if (resp.ProtoMajor == 2) != http2 {
				t.Errorf("HTTP/%d", resp.ProtoMajor)
			}
		}
	}
	asProtocol := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(bearer))
	for path, protocol := range map[string]string{"exec?command=id&stdout=true": v4, "portforward?ports=80": "SPDY/3.1+portforward.k8s.io"} {
		_, resp, err := websocket.Dial(t.Context(), "wss://"+g.addr+"/api/v1/namespaces/web/pods/web-0/"+path, &websocket.DialOptions{
			HTTPClient: g.client(t, false), Subprotocols: []string{protocol, asProtocol},
		})
		if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	h := http.Header{"Sec-Websocket-Protocol": {"a, " + asProtocol, "b"}}
	if withoutTokens(h); h.Get("Sec-Websocket-Protocol") != "a, b" {
		t.Errorf("%q", h)
	}
}

// TestProxies: what is behind a proxy of the API is not passed on as if it were known.
func TestProxies(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{
		"/api/v1/nodes/node-1/proxy/exec/web/web-0/web?command=id", "/api/v1/namespaces/web/pods/web-0/proxy/", "/api/v1/namespaces/web/services/web:80/proxy/x",
		"/api/v1/proxy/namespaces/web/pods/web-0",
	} {
		_, _ = g.kubectl(t, "", "get", "--raw", path)
		if asked := g.find(func(r *kube.Request) bool { return strings.HasPrefix(path, r.Path) }); len(asked) == 0 || asked[0].Action() != "kube:proxy" || !asked[0].Opaque {
			t.Errorf("%s: %+v", path, asked)
		}
	}
}

// TestWatches: a thousand of them are open at once, and each hears of what happens.
func TestWatches(t *testing.T) {
	const many = 1000
	g := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := g.client(t, true)
	var open, heard sync.WaitGroup
	open.Add(many)
	openers := make(chan struct{}, 16) // the server turns away who comes with more at once
	for range many {
		heard.Go(func() {
			opened := sync.OnceFunc(open.Done)
			defer opened()
			openers <- struct{}{}
			resp, err := watch(ctx, c, "https://"+g.addr+"/api/v1/namespaces/web/configmaps?watch=1&resourceVersion=0&labelSelector=watched")
			<-openers
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			opened()
			line, err := bufio.NewReader(resp.Body).ReadBytes('\n')
			var event struct{ Type string }
			if err != nil || json.Unmarshal(line, &event) != nil || event.Type != "ADDED" || strings.Contains(string(line), "anna.schmidt") {
				t.Errorf("%v, %.100s", err, line)
			}
		})
	}
	open.Wait()
	made := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen, namespace: web, labels: {watched: '1'}}\ndata: {a: anna.schmidt@example.com}\n"
	if _, err := cluster.Kubectl(t.Context(), []byte(made), "create", "-f", "-"); err != nil {
		cancel()
		t.Error(err)
	}
	heard.Wait()
}

// watch opens a watch, and does so again when the server has too much to do.
func watch(ctx context.Context, c *http.Client, url string) (*http.Response, error) {
	for {
		r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := c.Do(r)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests {
			return resp, err
		}
		resp.Body.Close()
	}
}
