package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/shells/kube/throwaway"
)

// A kubeWay is one way to the API server.
type kubeWay struct {
	name   string
	url    string
	client *http.Client
	config string // kubeconfig, for kubectl
}

// kubernetes measures the API through the gate beside the server itself, and beside a tunnel of OpenSSH's.
func (b *bench) kubernetes(ctx context.Context) error {
	if err := throwaway.Missing(); err != nil {
		return err
	}
	pods, watches := 5000, 1000
	if b.o.quick {
		pods, watches = 500, 100
	}
	t := b.report.table(fmt.Sprintf("Kubernetes: %d pods of 3 KB, %d watches", pods, watches),
		"Under plain Go stands the API server itself, without any tunnel; under OpenSSH it is behind ssh -L. The gate decides on every request,",
		"masks every answer and writes both down.")
	dir := filepath.Join(b.dir, "cluster")
	cluster, err := throwaway.Start(ctx, dir)
	if err != nil {
		return err
	}
	defer cluster.Stop()
	b.kubeconfig = cluster.Admin
	defer func() { b.kubeconfig = "" }()
	gate, err := b.startGate(ctx, "gate-kube")
	if err != nil {
		return err
	}
	ways, closeWays, err := b.kubeWays(ctx, cluster, gate)
	defer closeWays()
	if err != nil {
		return err
	}
	if err := fillPods(ctx, ways[1], pods); err != nil {
		return err
	}
	return errors.Join(b.kubeRows(ctx, t, ways, gate, watches), b.drop(gate.proc))
}

// kubeWays are gate, direct and OpenSSH.
func (b *bench) kubeWays(ctx context.Context, k *throwaway.Server, gate *server) (ways [3]kubeWay, done func(), err error) {
	var ends []func()
	done = func() {
		for i := range ends {
			ends[len(ends)-1-i]()
		}
	}
	admin, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	if err != nil {
		return ways, done, err
	}
	pem, err := os.ReadFile(k.CA)
	if err != nil {
		return ways, done, err
	}
	ca, err := gateCA(ctx, *gate.box)
	if err != nil {
		return ways, done, err
	}
	through := func(d *door, to string) (func(context.Context, string, string) (net.Conn, error), error) {
		c, err := d.dial(ctx)
		if err != nil {
			return nil, err
		}
		ends = append(ends, func() { _ = c.Close() })
		return func(context.Context, string, string) (net.Conn, error) { return c.Dial("tcp", to) }, nil
	}
	byGate, err := through(gate.box, "k8s:443")
	if err != nil {
		return ways, done, err
	}
	bySSH, err := through(b.openssh.box, strings.TrimPrefix(k.URL, "https://"))
	if err != nil {
		return ways, done, err
	}
	direct := new(net.Dialer).DialContext
	for i, w := range []struct {
		name, url string
		dial      func(context.Context, string, string) (net.Conn, error)
		tls       *tls.Config
	}{
		{"gate", "https://k8s", byGate, &tls.Config{RootCAs: pool(ca)}},
		{"direct", k.URL, direct, &tls.Config{RootCAs: pool(pem), Certificates: []tls.Certificate{admin}}},
		{"OpenSSH", k.URL, bySSH, &tls.Config{RootCAs: pool(pem), Certificates: []tls.Certificate{admin}}},
	} {
		tr := &http.Transport{DialContext: w.dial, TLSClientConfig: w.tls, ForceAttemptHTTP2: true, MaxConnsPerHost: 32, DisableCompression: true}
		ends = append(ends, tr.CloseIdleConnections)
		ways[i] = kubeWay{name: w.name, url: w.url, client: &http.Client{Transport: tr}, config: filepath.Join(b.dir, w.name+".kubeconfig")}
		port, stop, err := listen(w.dial, strings.TrimPrefix(w.url, "https://"))
		if err != nil {
			return ways, done, err
		}
		ends = append(ends, stop)
		server, user, authority := "https://"+port, fmt.Sprintf("{client-certificate: %q, client-key: %q}", k.Cert, k.Key), pem
		if i == 0 {
			user, authority = "{token: none-needed}", ca
		}
		text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s, tls-server-name: %s}}]\nusers: [{name: u, user: %s}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n",
			server, base64.StdEncoding.EncodeToString(authority), []string{"k8s", "localhost", "localhost"}[i], user)
		if err := os.WriteFile(ways[i].config, []byte(text), 0o600); err != nil {
			return ways, done, err
		}
	}
	return ways, done, nil
}

func pool(pem []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(pem)
	return p
}

var caData = regexp.MustCompile(`certificate-authority-data: (\S+)`)

// gateCA is what the gate's kubeconfig says its certificates are signed by.
func gateCA(ctx context.Context, d door) ([]byte, error) {
	d.User, d.config = "gate", nil
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out, err := s.Output("kubeconfig k8s")
	if err != nil {
		return nil, err
	}
	m := caData.FindSubmatch(out)
	if m == nil {
		return nil, errors.New("the gate's kubeconfig names no authority")
	}
	return base64.StdEncoding.DecodeString(string(m[1]))
}

// listen is a port of this machine that leads to what dial dials, as that of ssh -L does.
func listen(dial func(context.Context, string, string) (net.Conn, error), to string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				up, err := dial(context.Background(), "tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c); up.Close() }() // ends with up
				_, _ = io.Copy(c, up)
			})
		}
	})
	return l.Addr().String(), func() { l.Close(); wg.Wait() }, nil
}

// aPod is as large as those of real workloads, and has something to mask.
const aPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p-%d","namespace":"many","labels":{"app":"web","tier":"front","version":"1.4.2"},
"annotations":{"owner":"team%d@example.com","checksum/config":"0d3f1c1e11114e5e8d2a1234567890120d3f1c1e11114e5e8d2a123456789012"}},"spec":{"containers":[%s]}}`

const aContainer = `{"name":"c%d","image":"registry.example/web:1.4.2","args":["--port","8080","--log-level","info"],"env":[{"name":"PORT","value":"8080"},
{"name":"SESSION_SECRET","value":"kJ8sQ2vXz1mN4pR7"},{"name":"REGION","value":"eu-central-1"}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"},
"requests":{"cpu":"100m","memory":"128Mi"}},"livenessProbe":{"httpGet":{"path":"/healthz","port":8080}},"readinessProbe":{"httpGet":{"path":"/ready","port":8080}}}`

func fillPods(ctx context.Context, w kubeWay, n int) error {
	if err := w.post(ctx, "/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"many"}}`); err != nil {
		return err
	}
	containers := fmt.Sprintf(aContainer, 1) + "," + fmt.Sprintf(aContainer, 2)
	return spread(n, func(i int) error {
		return w.post(ctx, "/api/v1/namespaces/many/pods", fmt.Sprintf(aPod, i, i, containers))
	})
}

func (w kubeWay) post(ctx context.Context, path, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	_, err = w.do(r)
	return err
}

// do returns how many bytes the answer has.
func (w kubeWay) do(r *http.Request) (int64, error) {
	resp, err := w.client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return 0, fmt.Errorf("%s: %s: %s", w.name, resp.Status, why)
	}
	return io.Copy(io.Discard, resp.Body)
}

func (w kubeWay) get(ctx context.Context, path string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept", "application/json")
	return w.do(r)
}

// kubeRows measures in turns.
func (b *bench) kubeRows(ctx context.Context, t *table, ways [3]kubeWay, gate *server, watches int) error {
	near := aim{"within 5 ms of direct", func(r row) bool { return r.Value[0] <= r.Value[1]+5 }}
	most := aim{"0.8x of direct", func(r row) bool { return r.Value[0] >= 0.8*r.Value[1] }}
	for _, m := range []struct {
		row
		run func(w kubeWay) (amount float64, err error) // 0: the time counts
	}{
		{row{What: "GET of a pod, p50", Unit: "ms", Aim: near}, func(w kubeWay) (float64, error) {
			_, err := w.get(ctx, "/api/v1/namespaces/web/pods/web-0")
			return 0, err
		}},
		{row{What: "kubectl get pods, p50", Unit: "ms", Aim: near}, func(w kubeWay) (float64, error) {
			return 0, runKubectl(ctx, w, "get", "pods", "-n", "web")
		}},
		{row{What: "list of all pods", Unit: "MB/s", More: true, Aim: most}, func(w kubeWay) (float64, error) {
			n, err := w.get(ctx, "/api/v1/namespaces/many/pods?resourceVersion=0")
			return float64(n) / 1e6, err
		}},
		{row{What: "kubectl get pods -o json, all, p50", Unit: "ms"}, func(w kubeWay) (float64, error) {
			return 0, runKubectl(ctx, w, "get", "pods", "-n", "many", "-o", "json")
		}},
	} {
		var took [3][]float64
		for round := range b.rounds {
			for i := range ways {
				k := (i + round) % len(ways)
				if err := b.kubeTrial(ways[k], m.run, m.More, &took[k]); err != nil {
					return err
				}
			}
		}
		for i := range took {
			m.Value[i] = rank(took[i], 0.5)
		}
		t.add(m.row)
	}
	return b.kubeWatches(ctx, t, ways, gate, watches)
}

// kubeTrial adds milliseconds, or with more megabytes a second, of each run for about a slice.
func (b *bench) kubeTrial(w kubeWay, run func(kubeWay) (float64, error), more bool, took *[]float64) error {
	begun := time.Now()
	for n := 0; n < few || time.Since(begun) < b.slice; n++ {
		each := time.Now()
		amount, err := run(w)
		if err != nil {
			return err
		}
		v := float64(time.Since(each)) / 1e6
		if more {
			v = amount / time.Since(each).Seconds()
		}
		*took = append(*took, v)
	}
	return nil
}

func runKubectl(ctx context.Context, w kubeWay, args ...string) error {
	tool, err := throwaway.Tool("kubectl")
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, tool, append([]string{"--kubeconfig", w.config}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.Env = append(os.Environ(), "HOME="+filepath.Dir(w.config))
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: kubectl: %w: %s", w.name, err, stderr.Bytes())
	}
	return nil
}

// kubeWatches opens n watches each way, and sees how long an event takes to reach all.
func (b *bench) kubeWatches(ctx context.Context, t *table, ways [3]kubeWay, gate *server, n int) error {
	event := row{What: fmt.Sprintf("an event at %d watches, the last", n), Unit: "ms"}
	memory := row{What: "the gate's memory for a watch", Unit: "KB"}
	for i, w := range ways {
		before, _, err := b.memoryOf(ctx, gate)
		if err != nil {
			return err
		}
		err = w.watch(ctx, n, func(heard func() error) error {
			after, _, err := b.memoryOf(ctx, gate)
			if i == 0 {
				memory.Value[0] = (after - before) / float64(n) / 1e3
			}
			if err != nil {
				return err
			}
			begun := time.Now()
			made := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"seen-%d","labels":{"watched":"%d"}},"data":{"a":"b"}}`, i, i)
			if err := ways[1].post(ctx, "/api/v1/namespaces/web/configmaps", made); err != nil {
				return err
			}
			err = heard()
			event.Value[i] = float64(time.Since(begun)) / 1e6
			return err
		}, fmt.Sprintf("/api/v1/namespaces/web/configmaps?watch=1&resourceVersion=0&labelSelector=watched%%3D%d", i))
		if err != nil {
			return err
		}
	}
	t.add(event)
	t.add(memory)
	return nil
}

// watch opens n watches of path and calls f; heard returns when each has had an event.
func (w kubeWay) watch(ctx context.Context, n int, f func(heard func() error) error, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*trialLimit)
	defer cancel()
	bodies := make([]io.ReadCloser, n)
	defer func() {
		for _, body := range bodies {
			if body != nil {
				body.Close()
			}
		}
	}()
	err := spread(n, func(i int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
		if err != nil {
			return err
		}
		resp, err := w.client.Do(r)
		if err != nil {
			return err
		}
		bodies[i] = resp.Body
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: a watch: %s", w.name, resp.Status)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f(func() error {
		return together(n, func(i int) error { _, err := bufio.NewReader(bodies[i]).ReadSlice('\n'); return err })
	})
}
