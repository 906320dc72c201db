package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sallyport-ssh/sallyport/shells"
)

// A Client is a sandboxed client of a proxy of the gate's: a process, and the connections that it makes to a socket
// which only it can find.
type Client struct {
	shells.Process
	listener net.Listener
	dir      string
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
}

// NewClient makes the socket called file in a directory of base, which is bound into the sandbox and cannot be
// listed, and returns that directory's name. Serve is called for each connection, of at most most at a time; its context
// ends with the client, not with ctx.
func NewClient(ctx context.Context, base, file string, most int, serve func(context.Context, net.Conn)) (*Client, string, error) {
	name := strings.ToLower(rand.Text())
	dir := filepath.Join(base, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return nil, "", err
	}
	c := &Client{dir: dir}
	path := filepath.Join(dir, file)
	var err error
	if c.listener, err = net.Listen("unix", path); err != nil {
		os.RemoveAll(dir)
		return nil, "", fmt.Errorf("socket for a sandbox: %w", err)
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := os.Chmod(path, 0o666); err != nil {
		c.end()
		return nil, "", err
	}
	c.wg.Go(func() { c.accept(most, serve) })
	return c, name, nil
}

// Start opens the process. The client ends if that fails.
func (c *Client) Start(l *Local, r shells.Request) (shells.Process, error) {
	p, err := l.Open(c.ctx, r)
	if err != nil {
		c.end()
		return nil, err
	}
	c.Process = p
	return c, nil
}

func (c *Client) accept(most int, serve func(context.Context, net.Conn)) {
	places := make(chan struct{}, most)
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		c.wg.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			serve(c.ctx, conn)
		})
	}
}

// Close ends the process and its connections.
func (c *Client) Close() error {
	err := c.Process.Close()
	c.end()
	return err
}

// Wait also waits for the connections, which end with the process, so that their last operations are in the record.
func (c *Client) Wait(ctx context.Context) (shells.Exit, error) {
	e, err := c.Process.Wait(ctx)
	c.listener.Close()
	c.wg.Wait()
	c.end()
	return e, err
}

func (c *Client) end() {
	c.once.Do(func() {
		c.listener.Close()
		c.cancel()
		os.RemoveAll(c.dir)
	})
	c.wg.Wait()
}

// ReadsSecret tells whether the program reads a password, where it has a terminal.
func (c *Client) ReadsSecret() bool {
	t, ok := c.Process.(*terminal)
	return ok && t.ReadsSecret()
}
