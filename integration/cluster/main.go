// Command cluster runs a real Kubernetes API server on this machine, for trying the gate with: `make k8s`.
//
//	cluster --dir D
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sallyport-ssh/sallyport/shells/kube/throwaway"
)

func main() {
	dir := flag.String("dir", ".sallyport/k8s", "where the cluster's state and the kubeconfig are")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	k, err := throwaway.Start(context.Background(), dir)
	if err != nil {
		return err
	}
	defer k.Stop()
	fmt.Printf("A Kubernetes API server runs at %s\n\n    kubectl --kubeconfig %s get pods -A\n\nCtrl-C stops.\n", k.URL, k.Admin)
	<-stop
	return nil
}
