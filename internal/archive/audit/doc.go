// Package audit checks an archive against its proof with nothing but the bucket
// and a public key: it reads every row, builds the trees, chains and heads anew
// (internal/proof), and compares them with what the manifests say and the
// connectors signed. It trusts nothing that it reads but the signatures.
//
// Files are read in parallel, each by itself; what is left to do in order is one
// step a file. A fault ends nothing: the audit goes on behind it and says all it
// found.
package audit
