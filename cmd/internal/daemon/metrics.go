package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// openMetrics serves figures on a listener of their own, or behind a token beside the console.
func (d *Daemon) openMetrics(console *http.ServeMux) error {
	token, err := d.metricsToken()
	if err != nil {
		return err
	}
	switch {
	case d.metricsListener != nil:
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", d.metrics.Handler(token))
		d.metricsWeb = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	case token != "":
		console.Handle("GET /metrics", d.metrics.Handler(token))
	}
	return nil
}

// minToken is how long a token must be not to be guessed.
const minToken = 16

func (d *Daemon) metricsToken() (string, error) {
	file := d.config.Metrics.TokenFile
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("metrics.token_file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minToken {
		return "", fmt.Errorf("metrics.token_file: %s holds fewer than %d characters", file, minToken)
	}
	return token, nil
}

func (d *Daemon) serveMetrics() {
	if d.metricsWeb == nil {
		return
	}
	d.wg.Go(func() {
		if err := d.metricsWeb.Serve(d.metricsListener); !errors.Is(err, http.ErrServerClosed) {
			d.failed <- fmt.Errorf("metrics: %w", err)
		}
	})
}

// version is the program's, as it was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
