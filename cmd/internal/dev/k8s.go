package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/shells/kube/throwaway"
)

// NoKubeconfig is what [Options.Kubeconfig] says where no target k8s is wanted.
const NoKubeconfig = "none"

// offerK8s adds the target k8s: the cluster of the kubeconfig that was given, or a throwaway one where there are the
// programs for it.
func (g *gate) offerK8s(c *config.Config) error {
	k := new(config.KubernetesTarget)
	about := "the cluster of " + filepath.Base(g.o.Kubeconfig)
	switch g.o.Kubeconfig {
	case NoKubeconfig:
		return nil
	default:
		var err error
		if k.Kubeconfig, err = filepath.Abs(g.o.Kubeconfig); err != nil {
			return err
		}
	case "":
		if err := throwaway.Missing(); err != nil {
			g.notes = append(g.notes, fmt.Sprintf("There is no target k8s: %v. Or give a cluster of yours: --kubeconfig FILE.", err))
			return nil
		}
		about = "a throwaway cluster with a small shop"
		var err error
		if g.k8s, err = newCluster(filepath.Join(g.o.Dir, "cluster"), g.log); err != nil {
			return fmt.Errorf("target k8s: %w", err)
		}
		k.Kubeconfig = g.k8s.kubeconfig
	}
	if path, err := throwaway.Tool("kubectl"); err == nil {
		k.Kubectl = path
	} else if _, err := exec.LookPath("kubectl"); err != nil {
		g.notes = append(g.notes, "kubectl is not installed, so k8s is reached by forwards alone.")
	}
	c.Targets = append(c.Targets, config.Target{
		Name: "k8s", Kind: "kubernetes", Description: about, Labels: map[string]string{"env": "demo"}, Kubernetes: k,
	})
	return nil
}

// A cluster is a throwaway API server behind a port of this machine. It takes some seconds and half a gigabyte to run, so it
// starts with the first connection to that port.
type cluster struct {
	kubeconfig string // names that port
	server     *throwaway.Server
	listener   net.Listener
	log        *slog.Logger
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup

	mu      sync.Mutex
	started bool
}

func newCluster(dir string, log *slog.Logger) (*cluster, error) {
	if err := os.RemoveAll(dir); err != nil { // what an earlier run left there its keys have no part in
		return nil, err
	}
	server, err := throwaway.New(dir)
	if err != nil {
		return nil, err
	}
	k := &cluster{kubeconfig: filepath.Join(dir, "gate.kubeconfig"), server: server, log: log}
	if k.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := server.WriteKubeconfig(k.kubeconfig, "https://"+k.listener.Addr().String()); err != nil {
		return nil, errors.Join(err, k.listener.Close())
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.wg.Go(k.accept)
	return k, nil
}

func (k *cluster) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() {
			defer c.Close()
			if err := k.join(c); err != nil {
				k.log.Error("the cluster of target k8s cannot be reached", "error", err)
			}
		})
	}
}

// join starts the server if it does not run, and connects c to it.
func (k *cluster) join(c net.Conn) error {
	if err := k.start(); err != nil {
		return err
	}
	up, err := net.Dial("tcp", k.server.URL[len("https://"):])
	if err != nil {
		return err
	}
	defer up.Close()
	stop := context.AfterFunc(k.ctx, func() { c.Close(); up.Close() })
	defer stop()
	k.wg.Go(func() {
		_, _ = io.Copy(up, c)
		up.Close()
	})
	_, _ = io.Copy(c, up)
	return nil
}

func (k *cluster) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.started {
		return nil
	}
	err := k.server.Start(k.ctx)
	k.started = err == nil
	return err
}

// close ends the server and all connections to it.
func (k *cluster) close() {
	k.cancel()
	_ = k.listener.Close()
	k.wg.Wait()
	k.server.Stop()
}
