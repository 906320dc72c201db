package kube

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

func parse(t testing.TB, method, target string) *Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(method, u)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		method, target string
		action, object string // group/version/resource/subresource namespace name
		classes        string
		opaque         bool
	}{
		{"GET", "/api/v1/namespaces/web/pods", "kube:list", "/v1/pods/ web ", "read", false},
		{"GET", "/api/v1/pods?watch=1", "kube:watch", "/v1/pods/  ", "read", false},
		{"GET", "/api/v1/pods?watch", "kube:watch", "/v1/pods/  ", "read", false},
		{"GET", "/api/v1/pods?watch=False", "kube:list", "/v1/pods/  ", "read", false},
		{"GET", "/api/v1/pods?watch=0", "kube:list", "/v1/pods/  ", "read", false},
		{"GET", "/api/v1/watch/namespaces/web/pods/a", "kube:watch", "/v1/pods/ web a", "read", false},
		{"GET", "/api/v1/namespaces/web/pods?fieldSelector=metadata.name%3Da", "kube:list", "/v1/pods/ web a", "read", false},
		{"HEAD", "/api/v1/namespaces/web/pods/a", "kube:get", "/v1/pods/ web a", "read", false},
		{"GET", "/api/v1/namespaces/web/pods/a/log?follow=true", "kube:get", "/v1/pods/log web a", "read", false},
		{"GET", "/api/v1/namespaces/web", "kube:get", "/v1/namespaces/ web web", "read", false},
		{"PUT", "/api/v1/namespaces/web/finalize", "kube:update", "/v1/namespaces/finalize web web", "write destructive", false},
		{"GET", "/api/v1/namespaces/web/secrets/db", "kube:get", "/v1/secrets/ web db", "read exfiltration", false},
		{"GET", "/apis/apps/v1/namespaces/web/deployments/a/scale", "kube:get", "apps/v1/deployments/scale web a", "read", false},
		{"PATCH", "/apis/apps/v1/namespaces/web/deployments/a", "kube:patch", "apps/v1/deployments/ web a", "write", false},
		{"POST", "/apis/apps/v1/namespaces/web/daemonsets", "kube:create", "apps/v1/daemonsets/ web ", "write persistence", false},
		{"DELETE", "/apis/apps/v1/namespaces/web/deployments", "kube:deletecollection", "apps/v1/deployments/ web ", "destructive", false},
		{"DELETE", "/api/v1/namespaces/web", "kube:delete", "/v1/namespaces/ web web", "destructive", false},
		{"POST", "/api/v1/namespaces/web/pods/a/eviction", "kube:create", "/v1/pods/eviction web a", "write destructive", false},
		{"POST", "/api/v1/namespaces/web/serviceaccounts/x/token", "kube:create", "/v1/serviceaccounts/token web x", "write privilege", false},
		{"POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "kube:create", "rbac.authorization.k8s.io/v1/clusterrolebindings/  ", "write privilege", false},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "kube:get", "authorization.k8s.io/v1/selfsubjectaccessreviews/  ", "read", false},
		{"POST", "/api/v1/namespaces/web/pods/a/exec?command=ls&command=-l", "kube:exec", "/v1/pods/exec web a", "write read", false},
		{"GET", "/api/v1/namespaces/web/pods/a/exec?command=rm&command=-rf&command=%2Fdata", "kube:exec", "/v1/pods/exec web a", "read destructive write", false},
		{"GET", "/api/v1/namespaces/web/pods/a/exec?command=sh&stdin=true&tty=true", "kube:exec", "/v1/pods/exec web a", "read interpreter", false},
		{"GET", "/api/v1/namespaces/web/pods/a/exec?command=sh&stdin=true", "kube:exec", "/v1/pods/exec web a", "read interpreter", true},
		{"GET", "/api/v1/namespaces/web/pods/a/exec?command=python3&stdin=true&tty=true", "kube:exec", "/v1/pods/exec web a", "read interpreter", true},
		{"POST", "/api/v1/namespaces/web/pods/a/exec", "kube:exec", "/v1/pods/exec web a", "write", true},
		{"POST", "/api/v1/namespaces/web/pods/a/attach?stdin=true", "kube:attach", "/v1/pods/attach web a", "write interpreter", false},
		{"POST", "/api/v1/namespaces/web/pods/a/portforward", "kube:portforward", "/v1/pods/portforward web a", "write network", false},
		{"GET", "/api/v1/nodes/n/proxy/run/x", "kube:proxy", "/v1/nodes/proxy  n", "read network", true},
		{"GET", "/api/v1/proxy/namespaces/web/pods/a", "kube:proxy", "/v1/pods/ web a", "network", true},
		{"TRACE", "/api/v1/pods", "kube:other", "/v1/pods/  ", "", true},
		{"GET", "/version", "kube:get", "///  ", "read", false},
		{"GET", "/api", "kube:get", "///  ", "read", false},
		{"GET", "/apis/apps/v1", "kube:get", "///  ", "read", false},
		{"GET", "/openapi/v3/apis/apps/v1?hash=1", "kube:get", "///  ", "read", false},
		{"GET", "/metrics", "kube:other", "///  ", "read", true},
		{"GET", "/logs/kube-apiserver.log", "kube:other", "///  ", "read", true},
		{"POST", "/healthz", "kube:other", "///  ", "", true},
	} {
		r := parse(t, c.method, c.target)
		object := r.Group + "/" + r.Version + "/" + r.Resource + "/" + r.Subresource + " " + r.Namespace + " " + r.Name
		if r.Action() != c.action || object != c.object || strings.Join(r.Classes, " ") != c.classes || r.Opaque != c.opaque {
			t.Errorf("%s %s:\n got %s %q %q opaque %v\nwant %s %q %q opaque %v", c.method, c.target,
				r.Action(), object, strings.Join(r.Classes, " "), r.Opaque, c.action, c.object, c.classes, c.opaque)
		}
		if r.Discovery() && r.Resource != "" {
			t.Errorf("%s %s is taken for discovery", c.method, c.target)
		}
		if (len(r.Why) == 0) && r.Opaque {
			t.Errorf("%s %s is opaque and does not say why", c.method, c.target)
		}
	}
}

// TestRequestInfo: the gate reads requests as Kubernetes does, which wrote the table (integration/kube), or refuses them.
func TestRequestInfo(t *testing.T) {
	table, err := os.ReadFile("testdata/requestinfo.tsv")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		u, err := url.ParseRequestURI(f[1])
		if err != nil {
			continue
		}
		r, err := Parse(f[0], u)
		if err != nil {
			continue
		}
		read++
		got := []string{f[0], f[1], "no object"}
		if r.Resource != "" {
			got = []string{f[0], f[1], "object", r.Verb, r.Group, r.Version, r.Resource, r.Subresource, r.Namespace, r.Name}
		}
		if !slices.Equal(got, f) {
			t.Errorf("\n  gate %q\nserver %q", got, f)
		}
	}
	if read < 1000 {
		t.Errorf("only %d lines of the table were read", read)
	}
}

// TestTwoReadings: what a server and a proxy may read differently is refused (attack class C).
func TestTwoReadings(t *testing.T) {
	for _, target := range []string{
		"/api/v1//pods", "/api/v1/namespaces/web/../kube-system/secrets", "/api/v1/./pods", "/api/v1/namespaces/web%2Fpods",
		"/api/v1/namespaces/%2e%2e/secrets", "/api/v1/namespaces/web%252Fpods", "/api/v1/pods%00", "/api/v1/pods%0a", `/api/v1\pods`,
		"/api/v1/pods//", "/api/v1/watch", "/api/v1/pods?a=%zz", "/api/v1/pods?a=1;watch=1", `/api/v1/pods?fieldSelector=metadata.name%3Da%5C%2Cb`, "/" + strings.Repeat("a", MaxPath),
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			continue
		}
		if r, err := Parse("GET", u); err == nil {
			t.Errorf("%.60s was read as %+v", target, r)
		}
	}
}

func TestDryRun(t *testing.T) {
	for target, want := range map[string]bool{
		"/api/v1/pods?dryRun=All": true, "/api/v1/pods": false, "/api/v1/pods?dryRun=": false, "/api/v1/pods?dryRun=All&dryRun=None": false,
	} {
		if got := parse(t, "POST", target).DryRun; got != want {
			t.Errorf("%s: dry run %v", target, got)
		}
	}
}

func TestBody(t *testing.T) {
	pod := func(spec string) string { return `{"kind":"Pod","spec":` + spec + `}` }
	for _, c := range []struct {
		kind, body string
		privilege  bool
		opaque     bool
	}{
		{"application/json", pod(`{"containers":[{"image":"x"}]}`), false, false},
		{"application/json", pod(`{"containers":[{"securityContext":{"privileged":true}}]}`), true, false},
		{"application/json", pod(`{"containers":[{"securityContext":{"privileged":false}}]}`), false, false},
		{"application/json", pod(`{"hostNetwork":true}`), true, false},
		{"application/json", pod(`{"volumes":[{"hostPath":{"path":"/"}}]}`), true, false},
		{"application/json", pod(`{"containers":[{"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]}`), true, false},
		{"application/json", pod(`{"containers":[{"securityContext":{"capabilities":{"drop":["ALL"]}}}]}`), false, false},
		{"application/apply-patch+yaml", "kind: Pod\nspec:\n  hostPID: true\n", true, false},
		{"application/json-patch+json", `[{"op":"add","path":"/spec/template/spec/hostPID","value":true}]`, true, false},
		{"application/strategic-merge-patch+json", `{"spec":{"template":{"spec":{"containers":[{"name":"a","securityContext":{"privileged":true}}]}}}}`, true, false},
		{"application/vnd.kubernetes.protobuf", "k8s\x00", false, true},
		{"application/apply-patch+cbor", "\xd9\xd9\xf7", false, true},
		{"application/json", `{"kind":`, false, true},
		{"application/json", `{} {}`, false, true},
		{"", `{}`, false, false},
		{"no type at all;", `{}`, false, true},
		{"application/yaml", "a: &x [1]\nb: *x\n", false, true},
		{"application/yaml", "a: 1\n---\nb: 1\n", false, true},
		{"application/yaml", "a: [", false, true},
		{"application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100), false, true},
	} {
		r := parse(t, "POST", "/api/v1/namespaces/web/pods")
		r.Body(c.kind, []byte(c.body))
		if got := slices.Contains(r.Classes, "privilege"); got != c.privilege || r.Opaque != c.opaque {
			t.Errorf("%s %.80s: privilege %v, opaque %v; want %v, %v (%v)", c.kind, c.body, got, r.Opaque, c.privilege, c.opaque, r.Why)
		}
	}
}

// TestProtobuf: what clients send in Kubernetes' binary form is understood as if it were JSON.
func TestProtobuf(t *testing.T) {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobufType)
	encode := func(privileged bool) []byte {
		pod := &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: privileged, Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
		b, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), pod)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, privileged := range []bool{false, true} {
		r := parse(t, "POST", "/api/v1/namespaces/web/pods")
		r.Body(protobufType, encode(privileged))
		if r.Opaque || slices.Contains(r.Classes, "privilege") != privileged {
			t.Errorf("host network %v: %v %v", privileged, r.Classes, r.Why)
		}
	}
	if text := Readable(protobufType, encode(true)); !strings.Contains(text, `"hostNetwork":true`) || !strings.Contains(text, `"kind":"Pod"`) {
		t.Errorf("an approver reads %s", text)
	}
	body := encode(true)
	for i := range body { // cut and damaged anywhere, it is either an object or opaque
		r := parse(t, "POST", "/api/v1/namespaces/web/pods")
		r.Body(protobufType, body[:i])
		damaged := slices.Clone(body)
		damaged[i] ^= 0xff
		r.Body(protobufType, damaged)
	}
}

func TestCommandLine(t *testing.T) {
	r := parse(t, "POST", "/api/v1/namespaces/web/pods/a/exec?command=sh&command=-c&command=rm+-rf+%22%24HOME%22&container=c&tty=true")
	if got := r.CommandLine(); got != `sh -c 'rm -rf "$HOME"'` {
		t.Errorf("command line: %s", got)
	}
	if !slices.Contains(r.Classes, "destructive") || r.Container != "c" || !r.Terminal() || r.Interactive() {
		t.Errorf("%+v", r)
	}
}

// TestContext: only what the policies' schema knows.
func TestContext(t *testing.T) {
	c := parse(t, "GET", "/apis/apps/v1/namespaces/web/deployments/a/scale").Context()
	for key, want := range map[string]any{"group": "apps", "resource": "deployments", "subresource": "scale", "namespace": "web", "name": "a", "opaque": false} {
		if c[key] != want {
			t.Errorf("%s: %v", key, c[key])
		}
	}
	if _, ok := parse(t, "GET", "/version").Context()["resource"]; ok {
		t.Error("a path that is no object has a resource")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/api/v1/namespaces/web/pods/a/log?follow=1", "/apis/apps/v1/watch/deployments", "/api/v1/proxy", "//", "/api/v1/nodes/a/proxy/"} {
		f.Add("GET", s)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r, err := Parse(method, u)
		if err != nil {
			return
		}
		again, err := url.ParseRequestURI(strings.TrimPrefix(r.Text(), method+" "))
		if err != nil || again.Path != u.Path {
			t.Fatalf("%q came back as %q: %v", u.Path, r.Text(), err)
		}
		if r.Resource == "secrets" && r.Group == "" && !slices.Contains(r.Classes, "exfiltration") && r.Verb != "" && r.Verb != "proxy" && !strings.HasPrefix(r.Verb, "delete") {
			t.Fatalf("secrets are not careful: %+v", r)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	u, _ := url.ParseRequestURI("/api/v1/namespaces/web/pods?limit=500&labelSelector=app%3Dweb")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("GET", u); err != nil {
			b.Fatal(err)
		}
	}
}
