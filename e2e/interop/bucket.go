package main

import (
	"context"
)

func runBucket(ctx context.Context, c config, p *page) error { return nil }
func runReaders(ctx context.Context, c config, p *page) error { return nil }
