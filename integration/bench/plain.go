package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// plainOptions are given to the plain server on its standard input, whose end is its own.
type plainOptions struct {
	HostKey       string // file
	AuthorizedKey string // text
}

// plainRole is the plain server: what one would write with x/crypto/ssh and nothing else. It decides
// nothing and records nothing.
func plainRole(stdin io.Reader, stdout io.Writer) error {
	in := json.NewDecoder(stdin)
	var o plainOptions
	if err := in.Decode(&o); err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", l.Addr())
	go func() { // ends the process with whoever started it
		_, _ = io.Copy(io.Discard, stdin)
		l.Close()
	}()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go servePlainly(c, config) // ends with c, or with the process
	}
}

func (o plainOptions) config() (*ssh.ServerConfig, error) {
	pem, err := os.ReadFile(o.HostKey)
	if err != nil {
		return nil, err
	}
	host, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, err
	}
	want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(o.AuthorizedKey))
	if err != nil {
		return nil, err
	}
	c := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(want.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	c.AddHostKey(host)
	return c, nil
}

func servePlainly(nc net.Conn, config *ssh.ServerConfig) {
	defer nc.Close()
	_, channels, requests, err := ssh.NewServerConn(nc, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			go plainSession(ch)
		case "direct-tcpip":
			go plainForward(ch)
		default:
			_ = ch.Reject(ssh.UnknownChannelType, "not here")
		}
	}
}

func plainForward(nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "unreadable")
		return
	}
	up, err := net.Dial("tcp", net.JoinHostPort(m.Host, fmt.Sprint(m.Port)))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer up.Close()
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(up, ch)
		_ = up.(*net.TCPConn).CloseWrite()
	})
	wg.Go(func() {
		_, _ = io.Copy(ch, up)
		_ = ch.CloseWrite()
	})
	wg.Wait()
}

// plainSession runs one command, in a terminal if that was asked for.
func plainSession(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	var size *pty.Winsize
	for r := range requests {
		switch r.Type {
		case "pty-req":
			size = &pty.Winsize{Rows: 24, Cols: 80}
			_ = r.Reply(true, nil)
		case "exec":
			var m struct{ Command string }
			if ssh.Unmarshal(r.Payload, &m) != nil {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			gone := make(chan struct{})
			go func() {
				ssh.DiscardRequests(requests)
				close(gone)
			}()
			status := plainCommand(ch, exec.Command("/bin/sh", "-c", m.Command), size, gone)
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
			return
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// plainCommand runs cmd until it ends, or is killed because the client is gone.
func plainCommand(ch ssh.Channel, cmd *exec.Cmd, size *pty.Winsize, gone <-chan struct{}) uint32 {
	var outputs sync.WaitGroup
	if size != nil {
		terminal, err := pty.StartWithSize(cmd, size)
		if err != nil {
			return 255
		}
		defer terminal.Close()
		go func() { _, _ = io.Copy(terminal, ch) }()
		outputs.Go(func() { _, _ = io.Copy(ch, terminal) })
	} else {
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		serr, err3 := cmd.StderrPipe()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if errors.Join(err1, err2, err3) != nil || cmd.Start() != nil {
			return 255
		}
		go func() {
			_, _ = io.Copy(in, ch)
			in.Close()
		}()
		outputs.Go(func() { _, _ = io.Copy(ch, out) })
		outputs.Go(func() { _, _ = io.Copy(ch.Stderr(), serr) })
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-gone:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // a session leader, so all of it
		case <-done:
		}
	}()
	outputs.Wait()
	if cmd.Wait() != nil {
		return 1
	}
	_ = ch.CloseWrite()
	return 0
}
