package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"

	"varve/internal/auth"
	"varve/internal/config"
	"varve/internal/guard"
	wire "varve/internal/remoting"
	"varve/internal/tlsport"
)

// Files of access control in the data directory.
const (
	keyFile         = "auth.key"          // seals the users' secrets
	credentialsFile = "admin-credentials" // of the super user that was made here
	firstSuper      = "admin"             // its name
)

// openAccess makes what every port needs: users and policies, and TLS.
func (n *Node) openAccess(context.Context) error {
	if err := n.openTLS(); err != nil {
		return err
	}
	c := n.cfg.Auth
	key, err := sealingKey(n.dir.path(keyFile))
	if err != nil {
		return fmt.Errorf("access control: %w", err)
	}
	n.auth, err = auth.Open(n.meta, auth.Config{On: c.Enabled, Key: key, Cluster: n.cfg.Cluster, Logger: n.log})
	if err != nil {
		return err
	}
	n.guard = guard.New(guard.Config{
		Store: n.auth,
		HasTopic: func(name string) bool {
			if n.broker == nil {
				return false
			}
			_, ok := n.broker.Topic(name)
			return ok
		},
		HasGroup: func(name string) bool {
			if n.broker == nil {
				return false
			}
			_, ok := n.broker.Group(name)
			return ok
		},
	})
	if !c.Enabled {
		n.log.Warn("ACCESS CONTROL IS OFF: whoever reaches the ports may read, write and delete everything; auth.enabled turns it on")
		return nil
	}
	return n.firstUsers()
}

// firstUsers makes the super user that the settings name, or one that nobody
// knows but who may read the data directory.
func (n *Node) firstUsers() error {
	c := n.cfg.Auth
	if c.SuperUser != "" {
		err := n.auth.CreateUser(auth.Anybody, auth.User{Name: c.SuperUser, Password: c.SuperSecretKey, Type: auth.Super})
		switch {
		case errors.Is(err, auth.ErrBad):
			return &config.Error{Key: "auth.super-user", Reason: err.Error()}
		case err != nil && !errors.Is(err, auth.ErrExists):
			return err
		}
	}
	if n.auth.HasSuper() {
		return nil
	}
	name, password := n.dir.path(credentialsFile), auth.NewPassword()
	if err := writePrivate(name, firstSuper+":"+password+"\n"); err != nil {
		return fmt.Errorf("access control: %w", err)
	}
	u := auth.User{Name: firstSuper, Password: password, Type: auth.Super, Status: auth.Enabled}
	err := n.auth.CreateUser(auth.Anybody, u)
	if errors.Is(err, auth.ErrExists) {
		err = n.auth.UpdateUser(auth.Anybody, u)
	}
	if err != nil {
		return err
	}
	n.log.Warn("there was no super user: one was made", slog.String("user", firstSuper), slog.String("credentials", name))
	return nil
}

// sealingKey reads the key that seals secrets, and makes it at the first
// start.
func sealingKey(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		key := auth.NewKey()
		return key, writePrivate(name, hex.EncodeToString(key)+"\n")
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != auth.KeyBytes {
		return nil, fmt.Errorf("%s: not a key of %d bytes in hexadecimal", name, auth.KeyBytes)
	}
	return key, nil
}

// writePrivate writes a small file, whole or not at all, for its owner only.
func writePrivate(name, text string) error {
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

func (n *Node) openTLS() error {
	c := n.cfg.TLS
	if c.Mode == config.TLSDisabled {
		return nil
	}
	certFile, keyFile := c.Cert, c.Key
	var err error
	if certFile == "" {
		if certFile, keyFile, err = tlsport.Own(n.dir.path("tls"), n.ownHosts()); err != nil {
			return err
		}
	}
	if n.tls, err = tlsport.Load(certFile, keyFile, n.log); err != nil {
		return &config.Error{Key: "tls.cert", Reason: err.Error()}
	}
	n.cas, err = readCAs(c.CA)
	return err
}

func (n *Node) tlsOnly() bool { return n.cfg.TLS.Mode == config.TLSEnforcing }

// ownHosts are the names by which clients may know this process.
func (n *Node) ownHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	for _, addr := range []string{n.cfg.Broker.Advertise, n.cfg.History.Advertise, n.cfg.Broker.Listen, n.cfg.HTTP.Listen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// conns is how remoting ports take connections.
func (n *Node) conns() wire.Config {
	return wire.Config{MaxConns: n.cfg.Broker.Connections, Admit: n.guard.Admit, TLS: n.tls, TLSOnly: n.tlsOnly(), Logger: n.log}
}

// peers is how this process calls remoting ports, its own and others'.
func (n *Node) peers() wire.ClientConfig {
	c := wire.ClientConfig{}
	if n.tlsOnly() {
		c.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
		if n.cas != nil {
			c.TLS = &tls.Config{RootCAs: n.cas, MinVersion: tls.VersionTLS12}
		}
	}
	user, secret := n.cfg.Auth.AccessKey, n.cfg.Auth.SecretKey
	if user == "" && n.auth.Enabled() {
		user, secret = n.auth.Own()
	}
	if user != "" {
		c.Sign = func(req *wire.Command) {
			req.Ext.Set(auth.FieldAccessKey, user)
			req.Ext.Set(auth.FieldSignature, auth.SignRemoting(req.Ext.Raw(), req.Body, secret))
		}
	}
	return c
}

// readCAs reads the certificates by which other processes are known.
func readCAs(name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, &config.Error{Key: "tls.ca", Reason: err.Error()}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &config.Error{Key: "tls.ca", Reason: name + " has no certificate"}
	}
	return pool, nil
}

// mayRead judges a request that found a message of a topic.
func (n *Node) mayRead(req *wire.Command, topic string) error {
	c, known := req.Caller.(auth.Caller)
	if !known && !n.auth.Enabled() {
		return nil
	}
	return n.auth.AllowCaller(c, auth.Sub|auth.Get, auth.Topic(topic))
}
