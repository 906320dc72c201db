// Package throwaway runs an OpenSSH server for development and tests: on a free port of the loopback
// interface, trusting one certificate authority, caged so that even its root harms nothing, and gone
// with everything it started when it is closed.
package throwaway

import (
	"context"

	"golang.org/x/crypto/ssh"
)

// Options says what server to start.
type Options struct {
	Name     string                                                                                 // host name that the host certificate names and the sessions see
	UserCAs  []ssh.PublicKey                                                                        // whose user certificates open it
	SignHost func(ctx context.Context, key ssh.PublicKey, names []string) (*ssh.Certificate, error) // nil: no host certificate
	Dir      string                                                                                 // for its key, configuration and log; default: a new temporary directory, removed by Close
	Hide     []string                                                                               // directories of the gate that sessions must find empty
	Config   []string                                                                               // further lines of sshd_config
	NoCage   bool                                                                                   // run without bubblewrap
}

// Server is a running sshd.
type Server struct {
	Addr    string // 127.0.0.1:port
	Login   string // the one user it lets in: root, or whoever started it
	HostKey ssh.PublicKey
	Log     string // path of sshd's log
	Caged   bool
}

// Start returns when the server accepts connections.
func Start(ctx context.Context, o Options) (*Server, error) { return nil, context.Canceled }

// Close ends the server and its sessions.
func (s *Server) Close() error { return nil }
