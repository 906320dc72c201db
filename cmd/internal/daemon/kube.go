package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/shells/kube"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// openKube makes a target of kind kubernetes.
func (d *Daemon) openKube(t config.Target, out *sshd.Target) error {
	k := t.Kubernetes
	c := kube.Config{
		Name: t.Name, Server: k.Server, ServerName: k.ServerName, ServiceAccount: k.ServiceAccount,
		GroupPrefix: k.GroupPrefix, DialTimeout: k.ConnectTimeout.D(),
		Certificate: (&serverCertificate{authority: d.authority, names: []string{t.Name}}).get,
	}
	var err error
	if k.Kubeconfig != "" {
		err = fromKubeconfig(k.Kubeconfig, k.Context, &c)
	} else {
		err = fromFiles(k, &c)
	}
	if err != nil {
		return err
	}
	if out.Kube, err = kube.New(c); err != nil {
		return err
	}
	d.openers = append(d.openers, func() error { out.Kube.Close(); return nil })
	if err := d.openKubectl(k.Kubectl, out); err != nil {
		return err
	}
	u, err := url.Parse(c.Server)
	if err != nil {
		return err
	}
	if out.Address = u.Host; u.Port() == "" {
		out.Address = net.JoinHostPort(u.Hostname(), "443")
	}
	return nil
}

// openKubectl lets kubectl run on the gate, where there is one.
func (d *Daemon) openKubectl(path string, out *sshd.Target) error {
	if path == "" {
		found, err := exec.LookPath("kubectl")
		if err != nil {
			d.log.Info("kubectl is not installed; the target is reached by forwards", "target", out.Name)
			return nil
		}
		path = found
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("kubectl: %w", err)
	}
	if err := out.Kube.UseKubectl(path); err != nil {
		return err
	}
	out.Opener = out.Kube.Kubectl(kube.Identity{}, nil) // sessions get theirs, with who they are
	return nil
}

func fromFiles(k *config.KubernetesTarget, c *kube.Config) error {
	if k.CAFile != "" {
		pem, err := os.ReadFile(k.CAFile)
		if err != nil {
			return err
		}
		if c.CAs, err = pool(pem); err != nil {
			return fmt.Errorf("ca_file: %w", err)
		}
	}
	if k.TokenFile != "" {
		c.Credential.Token = tokenFrom(k.TokenFile)
		_, err := c.Credential.Token()
		return err
	}
	cert, err := tls.LoadX509KeyPair(k.CertificateFile, k.KeyFile)
	c.Credential.Certificate = &cert
	return err
}

func pool(pem []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("there is no certificate in it")
	}
	return p, nil
}

// tokenFrom reads a token at every use: whoever made it renews it.
func tokenFrom(file string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile(file)
		token := strings.TrimSpace(string(b))
		if err == nil && (token == "" || strings.ContainsAny(token, " \r\n\t")) {
			err = fmt.Errorf("%s holds no token", file)
		}
		return token, err
	}
}

// A kubeconfig is what of one is understood (k8s.io/client-go, clientcmd/api/v1).
type kubeconfig struct {
	CurrentContext string `yaml:"current-context"`
	Clusters       []struct {
		Name    string
		Cluster struct {
			Server        string
			CAFile        string `yaml:"certificate-authority"`
			CAData        string `yaml:"certificate-authority-data"`
			TLSServerName string `yaml:"tls-server-name"`
			Insecure      bool   `yaml:"insecure-skip-tls-verify"`
		}
	}
	Users []struct {
		Name string
		User struct {
			Token     string
			TokenFile string `yaml:"tokenFile"`
			CertFile  string `yaml:"client-certificate"`
			CertData  string `yaml:"client-certificate-data"`
			KeyFile   string `yaml:"client-key"`
			KeyData   string `yaml:"client-key-data"`
		}
	}
	Contexts []struct {
		Name    string
		Context struct{ Cluster, User string }
	}
}

// fromKubeconfig fills c from one context of file.
func fromKubeconfig(file, context string, c *kube.Config) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil {
		return fmt.Errorf("%s is no kubeconfig", file) // the parser's error would show its secrets
	}
	if context == "" {
		context = k.CurrentContext
	}
	dir := filepath.Dir(file)
	for _, x := range k.Contexts {
		if x.Name == context {
			return errors.Join(k.cluster(x.Context.Cluster, dir, c), k.user(x.Context.User, dir, c))
		}
	}
	return fmt.Errorf("%s has no context %q", file, context)
}

func (k *kubeconfig) cluster(name, dir string, c *kube.Config) error {
	for _, x := range k.Clusters {
		if x.Name != name {
			continue
		}
		if x.Cluster.Insecure {
			return errors.New("the kubeconfig says insecure-skip-tls-verify: the API server could not be told from an impostor")
		}
		c.Server, c.ServerName = x.Cluster.Server, x.Cluster.TLSServerName
		pem, err := fileOrData(x.Cluster.CAFile, x.Cluster.CAData, dir)
		if err != nil || pem == nil {
			return err
		}
		c.CAs, err = pool(pem)
		return err
	}
	return fmt.Errorf("the kubeconfig has no cluster %q", name)
}

func (k *kubeconfig) user(name, dir string, c *kube.Config) error {
	for _, x := range k.Users {
		if x.Name != name {
			continue
		}
		u := x.User
		switch {
		case u.TokenFile != "":
			c.Credential.Token = tokenFrom(under(dir, u.TokenFile))
			return nil
		case u.Token != "":
			c.Credential.Token = func() (string, error) { return u.Token, nil }
			return nil
		}
		cert, err := fileOrData(u.CertFile, u.CertData, dir)
		if err != nil {
			return err
		}
		key, err := fileOrData(u.KeyFile, u.KeyData, dir)
		if err != nil {
			return err
		}
		if cert == nil || key == nil {
			return fmt.Errorf("user %q of the kubeconfig has neither token nor client certificate; programs that fetch one are not run", name)
		}
		pair, err := tls.X509KeyPair(cert, key)
		c.Credential.Certificate = &pair
		return err
	}
	return fmt.Errorf("the kubeconfig has no user %q", name)
}

func under(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

func fileOrData(file, data, dir string) ([]byte, error) {
	switch {
	case data != "":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, errors.New("a field of the kubeconfig is not base64")
		}
		return b, nil
	case file != "":
		return os.ReadFile(under(dir, file))
	}
	return nil, nil
}

// A serverCertificate proves a target's name inside tunnels. It is made anew when half of its life is over.
type serverCertificate struct {
	authority *certs.Authority
	names     []string

	mu   sync.Mutex
	cert *tls.Certificate
	half time.Time
}

func (s *serverCertificate) get(ctx context.Context) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert != nil && time.Now().Before(s.half) {
		return s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	chain, err := s.authority.SignServer(ctx, key.Public(), s.names)
	if err != nil {
		return nil, err
	}
	s.cert, s.half = &tls.Certificate{Certificate: chain, PrivateKey: key}, time.Now().Add(certs.ServerValidity/2)
	return s.cert, nil
}
