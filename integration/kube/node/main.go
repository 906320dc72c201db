// Command node stands in for a kubelet in tests: the containers of its pods are processes here, and exec, attach,
// logs and port-forward are Kubernetes' own streams (k8s.io/cri-streaming).
//
//	node --addr 127.0.0.1:10250 --cert F --key F --client-ca F --dir D
//
// Logs of a container are the file D/NAMESPACE_POD_CONTAINER.log; commands run in D.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:10250", "where to listen")
	cert := flag.String("cert", "", "serving certificate")
	key := flag.String("key", "", "its key")
	clientCA := flag.String("client-ca", "", "who may ask")
	dir := flag.String("dir", ".", "where commands run and logs are")
	flag.Parse()
	if err := serve(*addr, *cert, *key, *clientCA, &node{dir: *dir}); err != nil {
		log.Fatal(err)
	}
}

func serve(addr, cert, key, clientCA string, n *node) error {
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", n.exec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", n.attach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", n.portForward)
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", n.logs)
	s := &http.Server{
		Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:    &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // upgrades are HTTP/1.1
	}
	return s.ListenAndServeTLS(cert, key)
}

type node struct{ dir string }

const (
	idle     = 10 * time.Minute
	creation = 30 * time.Second
)

func (n *node) exec(w http.ResponseWriter, r *http.Request) {
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, n, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], o, idle, creation, remotecommand.SupportedStreamingProtocols)
}

func (n *node) attach(w http.ResponseWriter, r *http.Request) {
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, n, r.PathValue("pod"), "", r.PathValue("container"), o, idle, creation, remotecommand.SupportedStreamingProtocols)
}

func (n *node) portForward(w http.ResponseWriter, r *http.Request) {
	o, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, n, r.PathValue("pod"), "", o, idle, creation, []string{portforward.ProtocolV1Name})
}

var plain = regexp.MustCompile(`^[a-z0-9.-]+$`)

// logs sends the container's log; with follow=true it goes on until the client leaves.
func (n *node) logs(w http.ResponseWriter, r *http.Request) {
	name := []string{r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")}
	for _, part := range name {
		if !plain.MatchString(part) {
			http.NotFound(w, r)
			return
		}
	}
	f, err := os.Open(filepath.Join(n.dir, strings.Join(name, "_")+".log"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain")
	for {
		if _, err := io.Copy(w, f); err != nil || r.URL.Query().Get("follow") != "true" {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ExecInContainer runs cmd here.
func (n *node) ExecInContainer(ctx context.Context, pod, uid, container string, cmd []string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	c := exec.CommandContext(ctx, cmd[0], cmd[1:]...)
	c.Dir, c.Env = n.dir, append(os.Environ(), "POD="+pod, "CONTAINER="+container, "HOME="+n.dir)
	if tty {
		return exited(terminal(c, in, out, resize))
	}
	c.Stdout, c.Stderr = out, stderr
	if in != nil {
		pipe, err := c.StdinPipe() // not c.Stdin: the command's end is not the input's
		if err != nil {
			return err
		}
		go func() { _, _ = io.Copy(pipe, in); pipe.Close() }()
	}
	return exited(c.Run())
}

// AttachContainer talks to a process that echoes, once for each line, which container it is.
func (n *node) AttachContainer(ctx context.Context, pod, uid, container string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return n.ExecInContainer(ctx, pod, uid, container, []string{"sh", "-c", `while read -r line; do echo "$CONTAINER: $line"; done`}, in, out, stderr, tty, resize, 0)
}

func terminal(c *exec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	f, err := pty.Start(c)
	if err != nil {
		return err
	}
	defer f.Close()
	go func() {
		for size := range resize {
			_ = pty.Setsize(f, &pty.Winsize{Cols: size.Width, Rows: size.Height})
		}
	}()
	if in != nil {
		go func() { _, _ = io.Copy(f, in) }()
	}
	_, _ = io.Copy(out, f) // ends with EIO when the command is gone
	return c.Wait()
}

// exited says an exit status in the words of k8s.io/utils/exec.
func exited(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return utilexec.CodeExitError{Err: err, Code: e.ExitCode()}
	}
	return err
}

// PortForward connects to a port of this machine.
func (n *node) PortForward(ctx context.Context, pod, uid string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer c.Close()
	go func() { _, _ = io.Copy(c, stream); _ = c.(*net.TCPConn).CloseWrite() }()
	_, err = io.Copy(stream, c)
	return err
}
