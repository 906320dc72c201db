package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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
		{"a secret with sorted members", "/apis/x.io/v1/bundles/a",
			`{"spec":{"manifest":{"apiVersion":"v1","data":{"k":"eA==","n":null},"kind":"Secret","stringData":{"l":"y"}}}}`,
			`{"spec":{"manifest":{"apiVersion":"v1","data":{"k":"KioqKioqKio=","n":null},"kind":"Secret","stringData":{"l":"********"}}}}`},
		{"secrets in secrets", "/apis/x.io/v1/bundles",
			`{"data":{"a":{"data":{"k":"eA=="},"kind":"Secret"},"b":{"data":{"k":"eA=="},"kind":"ConfigMap"}},"kind":"Bundle"}`,
			`{"data":{"a":{"data":{"k":"KioqKioqKio="},"kind":"Secret"},"b":{"data":{"k":"eA=="},"kind":"ConfigMap"}},"kind":"Bundle"}`},
		{"data without a kind", "/api/v1/configmaps", `{"items":[{"metadata":{"name":"a"},"data":{"k":"eA=="}},{"data":["x",{"y":1}]}]}`, ""},
		{"an object in a string", "/api/v1/configmaps/a", `{"data":{"m.json":"{\"kind\":\"Secret\",\"data\":{\"k\":\"eA==\"}}","n":"{\"a\": \"\\u003c\"}"}}`,
			`{"data":{"m.json":"{\"kind\":\"Secret\",\"data\":{\"k\":\"KioqKioqKio=\"}}","n":"{\"a\": \"\\u003c\"}"}}`},
		{"two in one go", "/api/v1/pods", `{"a":"x","b":"anna.schmidt@example.com","c":"clean","d":"anna.schmidt@example.com","password":"Tr0ub4dor&3x"}`,
			`{"a":"x","b":"a***.*******@*******.***","c":"clean","d":"a***.*******@*******.***","password":"************"}`},
		{"a name", "/api/v1/pods", `{"anna.schmidt@example.com":{"x":[1,-2.5e+3,true]}}`, `{"a***.*******@*******.***":{"x":[1,-2.5e+3,true]}}`},
		{"as it is written", "/api/v1/pods", " {\n  \"a\" : [ ],\r\n\t\"b\":{ } }\n", ""},
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
				if got := whole.String(); got != c.want {
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

// TestMaskerMany: values follow each other, as a watch has them.
func TestMaskerMany(t *testing.T) {
	m := parse(t, "GET", "/api/v1/pods").Masker(engine(t), mask.StreamOptions{}, nil)
	for _, in := range []string{"{}\n[]\n12\n\"x\" null\n", "", "  ", "-1.5e3"} {
		var b bytes.Buffer
		if err := m.JSON(&b, iotest.OneByteReader(strings.NewReader(in))); err != nil || strings.TrimSpace(b.String()) != strings.TrimSpace(in) {
			t.Errorf("%q became %q, %v", in, b.String(), err)
		}
	}
}

// TestMaskerHolds: what waits for the kind of its object is bounded, and hidden when there is too much.
func TestMaskerHolds(t *testing.T) {
	m := parse(t, "GET", "/apis/x.io/v1/bundles/a").Masker(engine(t), mask.StreamOptions{}, nil)
	var large strings.Builder
	for i := range 2 * maxHeld / 1000 {
		fmt.Fprintf(&large, `"k%d":"%s",`, i, strings.Repeat("hunter2 ", 124))
	}
	for _, end := range []string{`"z":1},"kind":"ConfigMap"}`, `"z":1},"kind":"Secret"}`} {
		var b bytes.Buffer
		if err := m.JSON(&b, strings.NewReader(`{"data":{`+large.String()+end)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "hunter2") || !json.Valid(b.Bytes()) || cap(m.b) > 4*maxHeld {
			t.Errorf("%d bytes, %.100s", cap(m.b), b.String())
		}
	}
	if err := m.JSON(io.Discard, strings.NewReader(`{"data":"`+strings.Repeat("x", maxToken+1)+`"}`)); err == nil {
		t.Error("a string of any size is kept")
	}
	if err := m.JSON(io.Discard, strings.NewReader(strings.Repeat("[", maxOpen+1))); err == nil {
		t.Error("any depth is kept")
	}
}

// FuzzMasker: however it is cut and however much is looked at in one go, the same comes out, and it is JSON if that went in.
func FuzzMasker(f *testing.F) {
	for _, in := range []string{
		`{"kind":"Secret","data":{"k":"eA=="}}`, `{"data":{"k":"eA=="},"kind":"Secret"} {"a":[{"b":"anna@example.com"}]}`,
		`{"a":"-----BEGIN PRIVATE KEY-----","b":"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC","c":"-----END PRIVATE KEY-----","d":4111111111111111}`,
		`[{"name":"TOKEN","value":"abcdefgh12345678"},["--password","x y"],"\u0061nna\u0040example.com","\\"]`, `{"a":"{\"data\":{},\"kind\":\"Secret\"}"}`,
	} {
		f.Add([]byte(in), uint8(3))
	}
	e := engine(f)
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		run := func(group int, r io.Reader) (string, error) {
			m := parse(t, "GET", "/apis/x.io/v1/x").Masker(e, mask.StreamOptions{}, nil)
			m.group = group
			var b bytes.Buffer
			err := m.JSON(&b, r)
			return b.String(), err
		}
		want, err := run(together, bytes.NewReader(in))
		if got, other := run(1, bytes.NewReader(in)); got != want || (err == nil) != (other == nil) {
			t.Errorf("one by one: %q, %v\ntogether: %q, %v", got, other, want, err)
		}
		if got, other := run(together, &cutReader{in, int(cut)%7 + 1}); got != want || (err == nil) != (other == nil) {
			t.Errorf("in pieces: %q, %v\nwhole: %q, %v", got, other, want, err)
		}
		if json.Valid(in) && (err != nil || !json.Valid([]byte(want))) {
			t.Errorf("%q became %q, %v", in, want, err)
		}
	})
}

// A cutReader gives n bytes at a time.
type cutReader struct {
	b []byte
	n int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(r.n, len(r.b))])
	r.b = r.b[n:]
	return n, nil
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
