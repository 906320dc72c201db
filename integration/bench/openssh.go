package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// A stretch is one forward to the sink, whoever the client is.
type stretch interface {
	io.ReadWriter
	CloseWrite() error
}

// A piped is a forward by OpenSSH's own client, `ssh -W`, through its standard input and output.
type piped struct {
	*os.File          // its output
	in       *os.File // closed by CloseWrite
}

func (p piped) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p piped) CloseWrite() error           { return p.in.Close() }

// throughSSH measures a forward that OpenSSH's client makes. The cipher is the same for all, as what a client asks for
// first is not what every server has.
func throughSSH(what byte, f func(stretch, time.Duration) (sample, error)) trial {
	return func(ctx context.Context, d *door, slice time.Duration) (s sample, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		args, err := d.sshArgs()
		if err != nil {
			return s, err
		}
		cmd := exec.CommandContext(ctx, "ssh", append(args, "-W", fmt.Sprintf("%s:%d", d.SinkHost, d.SinkPort), "--", d.HostName)...)
		said := new(tail)
		cmd.Stderr = said
		inR, inW, err1 := os.Pipe()
		outR, outW, err2 := os.Pipe()
		if err := errors.Join(err1, err2); err != nil {
			return s, err
		}
		defer inW.Close()
		defer outR.Close()
		cmd.Stdin, cmd.Stdout = inR, outW
		err = cmd.Start()
		inR.Close()
		outW.Close()
		if err != nil {
			return s, err
		}
		p := piped{outR, inW}
		if _, err = p.Write([]byte{what}); err == nil {
			s, err = f(p, slice)
		}
		cancel() // one that reads is sent to without end
		_ = cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return s, err
	}
}

// sshArgs are those of OpenSSH's client for d.
func (d *door) sshArgs() ([]string, error) {
	host, port, err := net.SplitHostPort(d.Addr)
	if err != nil {
		return nil, err
	}
	args := []string{"-F", "none", "-p", port, "-l", d.User, "-i", d.Key, "-c", "aes128-gcm@openssh.com"}
	options := []string{
		"HostName=" + host, "HostKeyAlias=" + d.HostName, "UserKnownHostsFile=" + d.KnownHosts, "GlobalKnownHostsFile=none",
		"HostKeyAlgorithms=" + d.HostAlgorithm, "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none",
	}
	if d.Cert != "" {
		options = append(options, "CertificateFile="+d.Cert)
	}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	return args, nil
}

// downOver reads from the sink.
func downOver(st stretch, slice time.Duration) (sample, error) { return take(st, slice) }

// upOver writes to the sink, until it says that it has all.
func upOver(st stretch, slice time.Duration) (sample, error) {
	begun := time.Now()
	n, err := give(st, slice)
	var count [8]byte
	if err = errors.Join(err, st.CloseWrite()); err == nil {
		_, err = io.ReadFull(st, count[:])
	}
	if got := int64(binary.BigEndian.Uint64(count[:])); err == nil && got != n {
		err = fmt.Errorf("%d bytes were sent and %d came", n, got)
	}
	return sample{amount: float64(n) / 1e6, took: time.Since(begun)}, err
}
