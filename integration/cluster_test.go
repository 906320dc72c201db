package integration

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport-ssh/sallyport/shells/kube/throwaway"
)

// cmdCluster starts a real Kubernetes API server for this script. admin.kubeconfig is its operator's, $KUBEPORT and $OWNPORT
// are free ports, $KUBECONFIG the file kubeconfig, and kubectl is in the PATH.
func cmdCluster(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := os.MkdirTemp("", "cluster") // not the script's own: what runs there is no child of the gate
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	k, err := throwaway.Start(context.Background(), dir)
	ts.Check(err)
	ts.Defer(k.Stop)
	config, err := os.ReadFile(filepath.Join(dir, "admin.kubeconfig"))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("admin.kubeconfig"), config, 0o600))
	for _, name := range []string{"KUBEPORT", "OWNPORT"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ts.Setenv(name, port)
	}
	kubectl, err := throwaway.Tool("kubectl")
	ts.Check(err)
	ts.Setenv("PATH", filepath.Dir(kubectl)+":"+ts.Getenv("PATH"))
	ts.Setenv("KUBECONFIG", ts.MkAbs("kubeconfig"))
	ts.Setenv("HOME", ts.MkAbs("."))
}
