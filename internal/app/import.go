package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"varve/internal/archive"
	"varve/internal/auth"
	"varve/internal/config"
	"varve/internal/migrate"
	wire "varve/internal/remoting"
)

// ImportOptions say what is brought in from a RocketMQ cluster.
type ImportOptions struct {
	NameServer      string
	Brokers, Topics []string // patterns
	From            time.Time
	Rate            int64
	Queues          int
	Program         string
}

// ErrNoNameServer says that the cluster's name server never answered.
var ErrNoNameServer = migrate.ErrNoNameServer

// Import brings a RocketMQ cluster's history into the archive of the settings.
func Import(ctx context.Context, cfg *config.Config, o ImportOptions, log *slog.Logger) (*migrate.Report, error) {
	root, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: log, dir: &dataDir{root: root}}
	key, err := n.openBucket()
	if err != nil {
		return nil, err
	}
	if n.proofKey, err = loadProofKey(cfg.Proof.KeyFile); err != nil {
		return nil, err
	}
	a := archive.New(n.bucket, archive.Options{ProofKey: n.proofKey, Timeout: cfg.Archive.Timeout, Logger: log})
	first, cancel := within(ctx, reachWithin)
	defer cancel()
	if err := a.Connect(first); err != nil {
		return nil, &config.Error{Key: key, Reason: fmt.Sprintf("the archive in %s can't be opened: %v", n.bucket.URL(), err)}
	}
	c := wire.ClientConfig{}
	if user, secret := cfg.Auth.AccessKey, cfg.Auth.SecretKey; user != "" {
		c.Sign = func(req *wire.Command) {
			req.Ext.Set(auth.FieldAccessKey, user)
			req.Ext.Set(auth.FieldSignature, auth.SignRemoting(req.Ext.Raw(), req.Body, secret))
		}
	}
	return migrate.Run(ctx, a, migrate.Config{
		NameServer: o.NameServer, Brokers: o.Brokers, Topics: o.Topics, From: o.From, Rate: o.Rate, Queues: o.Queues,
		Remoting: c, Program: o.Program, Logger: log,
	})
}
