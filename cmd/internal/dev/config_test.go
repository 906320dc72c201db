package dev

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
)

// TestWrittenConfigLoadsAgain starts a gate on a configuration that says something of everything, and
// reads back what dev wrote of it.
func TestWrittenConfigLoadsAgain(t *testing.T) {
	dir := t.TempDir()
	g := &gate{o: Options{Dir: dir, SSH: "127.0.0.1:0", HTTP: "127.0.0.1:0", Kubeconfig: NoKubeconfig, Out: io.Discard}, log: slog.New(slog.DiscardHandler)}
	c, err := g.configure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	yes := true
	c.Policies = []string{filepath.Join(dir, "a: b #c.cedar")}
	c.Masking = config.Masking{
		Style: "last4", Hold: config.Duration(90 * time.Millisecond), Literals: []string{"yes", "- x", "null", "a\nb", "\"q'", "007"},
		Patterns: []config.Pattern{{Name: "id: #1", Regex: `^\d{3}\s'"[^:]+$`}}, Fields: []string{"pass word"},
	}
	c.Recordings.Directory, c.Recordings.S3 = "", &config.S3{Endpoint: "127.0.0.1:1", Bucket: "b", PathStyle: &yes, InsecurePlaintext: true}
	c.Ledger.URL = "postgres://u:p%40ss#w@db/x?sslmode=require"
	c.Users[0].Groups = append(c.Users[0].Groups, "@all", "*", "~", "1e3")
	c.Targets = append(c.Targets, config.Target{Name: "raw", Kind: "tcp", TCP: &config.TCPTarget{Address: "[::1]:80", ConnectTimeout: config.Duration(3 * time.Second)},
		Labels: map[string]string{"env": "true", "team:x": "1"}})

	g.config = c
	if g.daemon, err = daemon.Start(t.Context(), small(dir), daemon.Options{Log: g.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.daemon.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := g.writeConfig(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ConfigFile)
	got, err := config.Load(file)
	if err != nil {
		text, _ := os.ReadFile(file)
		t.Fatalf("%v\n%s", err, text)
	}
	want := *c
	want.SSH.Listen = g.daemon.SSHAddr().String()
	if d := cmp.Diff(&want, got, cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; others can read it", info.Mode(), err)
	}
}

// small is a gate that has only its ports.
func small(dir string) *config.Config {
	c := &config.Config{
		Gate: config.Gate{Name: "gate"}, SSH: config.SSH{Listen: "127.0.0.1:0"}, HTTP: config.HTTP{Listen: "127.0.0.1:0"},
		CA: config.CA{Dir: filepath.Join(dir, "ca")}, Ledger: config.Ledger{URL: "sqlite:" + filepath.Join(dir, "l.db")},
		Issuers:    []config.Issuer{{URL: "http://127.0.0.1:1/oidc", Audiences: []string{"a"}}},
		Console:    config.Console{ClientID: "c"},
		Recordings: config.Recordings{Spool: filepath.Join(dir, "spool"), Directory: filepath.Join(dir, "casts")},
	}
	c.SetDefaults()
	return c
}
