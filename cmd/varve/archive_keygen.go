package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"varve/internal/proof"
)

func archiveKeygen() *cobra.Command {
	return &cobra.Command{
		Use: "keygen FILE", Short: "Make the key that signs the archive's heads",
		Long: `Make an Ed25519 key pair: the private key in FILE (for proof.key-file; keep it
where the archive's bucket is not), the public one in FILE.pub (for auditors).
Files that exist are left as they are.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, err := proof.GenerateKey()
			if err != nil {
				return err
			}
			if err := createFile(args[0], private, 0o600); err != nil {
				return err
			}
			if err := createFile(args[0]+".pub", public, 0o644); err != nil {
				return err
			}
			keys, err := proof.ParsePublicKeys(public)
			if err != nil {
				return err
			}
			made := map[string]string{"private": args[0], "public": args[0] + ".pub", "key": proof.KeyID(keys[0])}
			return show(cmd, made, func(t *table) {
				t.row("private key, for proof.key-file", made["private"])
				t.row("public key, for auditors", made["public"])
				t.row("its name in heads", made["key"])
			})
		},
	}
}

func createFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return usageError{err}
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
