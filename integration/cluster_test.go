package integration

import (
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport-ssh/sallyport/integration/real"
)

// cmdCluster starts a real Kubernetes API server for this script. admin.kubeconfig is its operator's, $KUBEPORT a free
// port, $KUBECONFIG the file kubeconfig, and kubectl is in the PATH.
func cmdCluster(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := os.MkdirTemp("", "cluster") // not the script's own: what runs there is no child of the gate
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	started, stop, stopped := make(chan error), make(chan struct{}), make(chan struct{})
	go func() { // ends with the script
		defer close(stopped)
		runtime.LockOSThread() // the servers end with the thread that started them
		k, err := real.StartKube(dir)
		started <- err
		if err == nil {
			<-stop
			k.Stop()
		}
	}()
	ts.Check(<-started)
	ts.Defer(func() { close(stop); <-stopped })
	config, err := os.ReadFile(filepath.Join(dir, "admin.kubeconfig"))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("admin.kubeconfig"), config, 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	kubectl, err := real.KubeTool("kubectl")
	ts.Check(err)
	ts.Check(os.Symlink(kubectl, ts.MkAbs("kubectl"))) // what the configuration names
	ts.Setenv("PATH", filepath.Dir(kubectl)+":"+ts.Getenv("PATH"))
	ts.Setenv("KUBEPORT", port)
	ts.Setenv("KUBECONFIG", ts.MkAbs("kubeconfig"))
	ts.Setenv("HOME", ts.MkAbs("."))
}
