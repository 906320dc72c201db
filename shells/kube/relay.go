package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// relayWord is the first argument of this program when it stands in the sandbox beside kubectl.
const relayWord = "kubectl-in-sandbox"

// socketEnv names the socket to the proxy.
const socketEnv = "SALLYPORT_API"

// Intercept makes this process the relay when it was started as one: kubectl dials no Unix sockets, so the relay
// listens on the sandbox's own loopback, which nobody else has. Call it first in main.
func Intercept() {
	if len(os.Args) < 2 || os.Args[1] != relayWord {
		return
	}
	os.Exit(relay(os.Args[2:]))
}

// relay runs one kubectl with the arguments that stand in args[0] as JSON, or with a terminal reads commands.
func relay(args []string) int {
	config, err := reach(os.Getenv(socketEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, "sallyport:", err)
		return 1
	}
	var words []string
	if len(args) > 0 {
		if err := json.Unmarshal([]byte(args[0]), &words); err != nil {
			return 2
		}
		return kubectl(config, words)
	}
	if !term.IsTerminal(0) {
		fmt.Fprintln(os.Stderr, "sallyport: give a command, such as: ssh k8s@gate get pods; or ask for a terminal")
		return 2
	}
	return prompt(config)
}

// reach makes the proxy's socket a port of the sandbox, and returns the kubeconfig that says so.
func reach(socket string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go join(c, socket)
		}
	}()
	file := filepath.Join(os.Getenv("HOME"), ".kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"gate",
"clusters":[{"name":"gate","cluster":{"server":"http://%s"}}],"users":[{"name":"gate","user":{"token":"none-needed"}}],
"contexts":[{"name":"gate","context":{"cluster":"gate","user":"gate"}}]}`, l.Addr())
	return file, os.WriteFile(file, []byte(text), 0o600)
}

func join(c net.Conn, socket string) {
	defer c.Close()
	up, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer up.Close()
	go func() { _, _ = io.Copy(up, c); up.Close() }()
	_, _ = io.Copy(c, up)
}

// kubectl runs it and returns its exit status.
func kubectl(config string, words []string) int {
	// The terminal's are kubectl's, which hears them too. Ignored here they would be ignored there.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(heard)
	c := exec.Command(insideKubectl, words...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "KUBECONFIG="+config, "PATH=/usr/bin:/bin")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	case errors.As(err, &exit):
		fmt.Println()
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	fmt.Fprintln(os.Stderr, "sallyport: kubectl:", err)
	return 1
}

// prompt reads kubectl commands from the terminal, with history and completion, until its end.
func prompt(config string) int {
	status := 0
	lines := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout}, "kubectl> ")
	lines.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' || pos != len(line) {
			return "", 0, false
		}
		full := complete(config, line)
		return full, len(full), full != line
	}
	for {
		raw, err := term.MakeRaw(0)
		if err != nil {
			return 1
		}
		if cols, rows, err := term.GetSize(0); err == nil && cols > 0 && rows > 0 {
			_ = lines.SetSize(cols, rows)
		}
		line, err := lines.ReadLine()
		_ = term.Restore(0, raw)
		switch line = strings.TrimSpace(line); {
		case err != nil, line == "exit", line == "quit":
			fmt.Println()
			return status
		case line == "":
			continue
		}
		words, err := split(line)
		if err != nil {
			fmt.Println("sallyport: write one kubectl command, such as: get pods -n web")
			continue
		}
		status = kubectl(config, words)
	}
}

// complete asks kubectl how line goes on, and returns it as far as there is one way.
func complete(config, line string) string {
	words, err := split(line)
	if err != nil {
		return line
	}
	if line == "" || strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	c := exec.Command(insideKubectl, append([]string{"__complete"}, words...)...)
	c.Env = append(os.Environ(), "KUBECONFIG="+config)
	out, err := c.Output()
	if err != nil {
		return line
	}
	last := words[len(words)-1]
	var common string
	found := 0
	for l := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
		if word == "" || strings.HasPrefix(word, ":") || !strings.HasPrefix(word, last) {
			continue
		}
		if found++; found == 1 {
			common = word
		}
		for !strings.HasPrefix(word, common) {
			common = common[:len(common)-1]
		}
	}
	if found == 0 {
		return line
	}
	line += common[len(last):]
	if found == 1 {
		line += " "
	}
	return line
}
