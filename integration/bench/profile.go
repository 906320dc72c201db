package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// profilerSource is laid over the gate's main package in a build of its own: the product has no profiler.
//
//go:embed profiler.go.txt
var profilerSource []byte

// profilerEnv tells a gate with the profiler where to listen: a Unix socket in our own directory.
const profilerEnv = "SALLYPORT_BENCH_PROFILER"

// buildGate builds the gate, with the profiler if profiles are wanted.
func (st *stage) buildGate(ctx context.Context, profiled bool) error {
	const main = "github.com/sallyport-ssh/sallyport/cmd/sallyport"
	st.gateAt = filepath.Join(st.dir, "sallyport")
	args := []string{"build", "-o", st.gateAt}
	if profiled {
		dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", main).Output()
		if err != nil {
			return fmt.Errorf("find the gate: %w", err)
		}
		source, overlay := filepath.Join(st.dir, "profiler.go"), filepath.Join(st.dir, "overlay.json")
		text, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(strings.TrimSpace(string(dir)), "bench_profiler.go"): source}})
		if err := errors.Join(err, os.WriteFile(source, profilerSource, 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, main)...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the gate: %w\n%s", err, out)
	}
	return nil
}

func (st *stage) profiler() string { return filepath.Join(st.dir, "profiler.sock") }

// profiled runs measure while the gate writes a CPU profile to dir; "" only runs it.
func (st *stage) profiled(ctx context.Context, dir, name string, measure func() error) error {
	if dir == "" {
		return measure()
	}
	path, err := filepath.Abs(filepath.Join(dir, name+".pprof"))
	if err != nil {
		return err
	}
	if err := st.tellProfiler(ctx, "start", path); err != nil {
		return err
	}
	err = measure()
	return errors.Join(err, st.tellProfiler(ctx, "stop", ""))
}

func (st *stage) tellProfiler(ctx context.Context, what, path string) error {
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", st.profiler())
	}}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://profiler/"+what+"?"+url.Values{"path": {path}}.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("profiler: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		return fmt.Errorf("profiler: %s: %s", answer.Status, text)
	}
	return nil
}
