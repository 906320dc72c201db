package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

func engine(t testing.TB) *mask.Engine {
	t.Helper()
	e, err := mask.New(mask.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMasker(t *testing.T) {
	for _, c := range []struct{ name, target, in, want string }{
		{"secret", "/api/v1/namespaces/web/secrets/db",
			`{"kind":"Secret","metadata":{"name":"db","annotations":{"data":"stays"}},"data":{"password":"aHVudGVyMg==","user":"bWU="},"type":"Opaque"}`,
			`{"kind":"Secret","metadata":{"name":"db","annotations":{"data":"stays"}},"data":{"password":"KioqKioqKio=","user":"KioqKioqKio="},"type":"Opaque"}`},
		{"secrets in a list", "/api/v1/secrets",
			`{"items":[{"metadata":{"name":"a"},"data":{"k":"eA=="}},{"stringData":{"k":"x","n":null}}]}`,
			`{"items":[{"metadata":{"name":"a"},"data":{"k":"KioqKioqKio="}},{"stringData":{"k":"********","n":null}}]}`},
		{"a secret that was applied", "/api/v1/namespaces/web/secrets/db",
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"p\":\"aHVudGVyMg==\"},\"kind\":\"Secret\"}\n"}}}`,
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"p\":\"KioqKioqKio=\"},\"kind\":\"Secret\"}\n"}}}`},
		{"a secret that was applied and is broken", "/api/v1/namespaces/web/secrets/db",
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"aHVu"}}}`,
			`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"********"}}}`},
		{"a secret somewhere else", "/apis/x.io/v1/bundles/a",
			`{"spec":{"template":{"kind":"Secret","data":{"k":"eA=="}}}}`, `{"spec":{"template":{"kind":"Secret","data":{"k":"KioqKioqKio="}}}}`},
		{"config maps are looked at", "/api/v1/namespaces/web/configmaps/a",
			`{"kind":"ConfigMap","data":{"app.conf":"mail=anna.schmidt@example.com\nport=1","n":"1"}}`,
			`{"kind":"ConfigMap","data":{"app.conf":"mail=a***.*******@*******.***\nport=1","n":"1"}}`},
		{"an escaped value", "/api/v1/pods/a", `{"a":"anna.schmidt\u0040example.com"}`, `{"a":"a***.*******@*******.***"}`},
		{"a variable", "/api/v1/pods/a", `{"env":[{"name":"DB_PASSWORD","value":"hunter2hunter"},{"name":"PORT","value":"8080"}]}`,
			`{"env":[{"name":"DB_PASSWORD","value":"********"},{"name":"PORT","value":"8080"}]}`},
		{"a flag", "/api/v1/pods/a", `{"args":["--password","Tr0ub4dor&3x","--port","8080"]}`, `{"args":["--password","********","--port","8080"]}`},
		{"a number", "/api/v1/pods/a", `{"card":4111111111111111,"n":12}`, `{"card":4111110000000000,"n":12}`},
		{"what is clean", "/api/v1/pods", `{"items":[{"metadata":{"uid":"0d3f1c1e-1111-4e5e-8d2a-123456789012","resourceVersion":"123456789"},"ok":true,"x":null,"q":"500m"}]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			}
			m := parse(t, "GET", c.target).Masker(engine(t), mask.StreamOptions{}, nil)
			for _, read := range []func() *strings.Reader{func() *strings.Reader { return strings.NewReader(c.in) }} {
				var whole, bytewise bytes.Buffer
				if err := m.JSON(&whole, read()); err != nil {
					t.Fatal(err)
				}
				if err := m.JSON(&bytewise, iotest.OneByteReader(read())); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSuffix(whole.String(), "\n"); got != c.want {
					t.Errorf("\n got %s\nwant %s", got, c.want)
				}
				if whole.String() != bytewise.String() {
					t.Errorf("byte by byte: %s", bytewise.String())
				}
				if !json.Valid(whole.Bytes()) {
					t.Error("it is no JSON any more")
				}
			}
		})
	}
}

// TestMaskerStream: an event of a watch is out before the next one has come.
func TestMaskerStream(t *testing.T) {
	m := parse(t, "GET", "/api/v1/secrets?watch=1").Masker(engine(t), mask.StreamOptions{}, nil)
	src, from := io.Pipe()
	to, dst := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- m.JSON(dst, src); dst.Close() }()
	lines := bufio.NewScanner(to)
	for _, event := range []string{`{"type":"ADDED","object":{"data":{"a":"eA=="}}}`, `{"type":"BOOKMARK","object":{}}`} {
		io.WriteString(from, event+"\n")
		if !lines.Scan() || lines.Text() != strings.Replace(event, "eA==", "KioqKioqKio=", 1) {
			t.Fatalf("%s came out as %s", event, lines.Text())
		}
	}
	from.Close()
	if lines.Scan() || <-done != nil {
		t.Error("there is more")
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestMaskerBroken(t *testing.T) {
	m := parse(t, "GET", "/api/v1/secrets").Masker(engine(t), mask.StreamOptions{}, nil)
	for _, in := range []string{`{"data":{"p":"hunter2`, `{"data":{"p":hunter2}}`, "k8s\x00hunter2", `]`, `{"a" "hunter2"}`} {
		var b bytes.Buffer
		err := m.JSON(&b, strings.NewReader(in))
		if err == nil || strings.Contains(err.Error()+b.String(), "hunter2") {
			t.Errorf("%s: %v, wrote %s", in, err, b.String())
		}
	}
}

func BenchmarkMasker(b *testing.B) {
	pod := `{"metadata":{"name":"web-5d9c7b8f6-abcde","namespace":"web","uid":"0d3f1c1e-1111-4e5e-8d2a-123456789012","resourceVersion":"123456789","labels":{"app":"web","pod-template-hash":"5d9c7b8f6"}},"spec":{"containers":[{"name":"web","image":"registry.example/web:1.2.3","args":["--port","8080"],"env":[{"name":"PORT","value":"8080"}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"}},"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","nodeName":"node-1","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Running","podIP":"10.0.0.1","startTime":"2026-11-24T10:00:00Z"}},`
	in := []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(pod, 1000), ",") + `]}`)
	m := parse(b, "GET", "/api/v1/pods").Masker(engine(b), mask.StreamOptions{}, nil)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.JSON(writer(func([]byte) {}), bytes.NewReader(in)); err != nil {
			b.Fatal(err)
		}
	}
}
