// Sallyport is an SSH gate for people and agents. README.md in the repository's root says what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
	"github.com/sallyport-ssh/sallyport/cmd/internal/dev"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
	"github.com/sallyport-ssh/sallyport/shells/kube"
)

type commands struct {
	Dev        devCmd        `cmd:"" help:"Run everything on this machine, with demo users and targets."`
	Serve      serveCmd      `cmd:"" help:"Run a gate in production."`
	Login      loginCmd      `cmd:"" help:"Sign in, and get a certificate."`
	Whoami     whoamiCmd     `cmd:"" help:"Ask a gate who you are there."`
	Delegate   delegateCmd   `cmd:"" help:"Hand an agent a certificate that is narrower than yours, and ends no later."`
	SSHConfig  sshConfigCmd  `cmd:"" name:"ssh-config" help:"Print an ssh_config for a gate and its targets."`
	Kubeconfig kubeconfigCmd `cmd:"" help:"Print what kubectl needs to reach a cluster through a gate."`
	KubeTunnel kubeTunnelCmd `cmd:"" name:"kube-tunnel" hidden:"" help:"What a kubeconfig starts: a tunnel to a cluster."`
	Sessions   sessionsCmd   `cmd:"" help:"List, show, watch and end sessions."`
	Replay     replayCmd     `cmd:"" help:"Play a recording in this terminal."`
	Export     exportCmd     `cmd:"" help:"Write a recording in another form."`
	Verify     verifyCmd     `cmd:"" help:"Check recordings against their signatures and the ledger. Exits 0 (fine), 1 (damaged) or 2 (cannot tell)."`
	Purge      purgeCmd      `cmd:"" help:"Remove old recordings for good; written down beforehand."`
	Adopt      adoptCmd      `cmd:"" help:"Seal the recordings of a gate that never comes back."`
	Approvals  approvalsCmd  `cmd:"" help:"List, show, watch and answer requests that wait."`
	Policy     policyCmd     `cmd:"" help:"Check, test and explain policies."`
	Mask       maskCmd       `cmd:"" help:"Mask standard input as the gate would."`
	Config     configCmd     `cmd:"" help:"Check a configuration."`
	CA         caCmd         `cmd:"" name:"ca" help:"Show the authority's public keys; take certificates back."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// An exitError ends the program with a status, after a line if it has one.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

func main() {
	grammar.Intercept()
	kube.Intercept()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	var c commands
	parser, err := kong.New(&c, kong.Name("sallyport"), kong.Description("An SSH gate for people and agents: decides, holds, masks, records."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic(err) // the commands above contradict each other
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed, err := parser.Parse(args)
	if err != nil {
		return wrongUse(args, err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run()
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintf(os.Stderr, "sallyport: %v\n", exit.err)
		}
		return exit.code
	}
	fmt.Fprintf(os.Stderr, "sallyport: %v\n", err)
	return 1
}

// wrongUse says what cannot be understood, and where the help is. Whoever typed nothing gets the help itself.
func wrongUse(args []string, err error) int {
	command := "sallyport"
	var wrong *kong.ParseError
	if errors.As(err, &wrong) {
		for _, step := range wrong.Context.Path {
			if step.Command != nil {
				command += " " + step.Command.Name
			}
		}
		if len(args) == 0 {
			wrong.Context.Stdout = os.Stderr
			if wrong.Context.PrintUsage(false) == nil {
				return exitUsage
			}
		}
	}
	fmt.Fprintf(os.Stderr, "sallyport: %v; see %s --help\n", err, command)
	return exitUsage
}

type devCmd struct {
	Dir    string `help:"Where everything is kept." default:".sallyport" type:"path"`
	SSH    string `help:"Address of the gate." default:"127.0.0.1:2222" placeholder:"ADDR"`
	HTTP   string `help:"Address of the console." default:"127.0.0.1:8022" placeholder:"ADDR"`
	Config string `help:"Further targets, users and policies, with the keys of production's file." type:"path" placeholder:"FILE"`

	Kubeconfig string `help:"A kubeconfig for target k8s; none for no such target. Default: a throwaway cluster, where make k8s has built the programs." env:"SALLYPORT_KUBECONFIG" placeholder:"FILE"`
}

func (c *devCmd) Run(ctx context.Context) error {
	return dev.Run(ctx, dev.Options{Dir: c.Dir, SSH: c.SSH, HTTP: c.HTTP, Config: c.Config, Kubeconfig: c.Kubeconfig, Out: os.Stdout})
}

type serveCmd struct {
	Config string `help:"Configuration file." required:"" type:"path" placeholder:"FILE"`
}

func (c *serveCmd) Run(ctx context.Context) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return &exitError{2, err}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	d, err := daemon.Start(ctx, cfg, daemon.Options{Log: log})
	if err != nil {
		return err
	}
	log.Info("ready", "ssh", d.SSHAddr().String(), "http", d.HTTPAddr().String())
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	done := make(chan error, 1)
	go func() { done <- d.Wait(ctx) }() // received below
	for {
		select {
		case <-hup:
			if err := d.Reload(); err != nil {
				log.Error("policies not reloaded; the old ones stay in force", "error", err)
			}
		case err := <-done:
			return err
		}
	}
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say everything that is wrong with a file."`
}

type configCheckCmd struct {
	File string `arg:"" help:"Configuration file." type:"path"`
}

func (c *configCheckCmd) Run() error {
	if _, err := config.Load(c.File); err != nil {
		return &exitError{1, err}
	}
	fmt.Println("ok")
	return nil
}

type versionCmd struct{}

// version is set by the Makefile. A binary that `go install` made knows its own.
var version string

func (versionCmd) Run() error {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	fmt.Printf("sallyport %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
