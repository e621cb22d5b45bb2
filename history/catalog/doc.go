// Package catalog is the Iceberg REST catalog of the archive: engines attach to
// it by one address and read every topic's table by name. A namespace is a
// tenant, a table a topic.
//
// Source: the Iceberg REST catalog specification
// (apache/iceberg, open-api/rest-catalog-open-api.yaml), the read side of it:
// configuration, namespaces, tables, OAuth2 tokens and scan reports.
//
// Invariants:
//   - Nothing is written: every request that would change a table is refused
//     with ForbiddenException, and the configuration doesn't list it.
//   - A table is answered with the newest version that the bucket has when it
//     is asked for, whoever committed it.
//   - Where access control is on, a table that a user may not read is not
//     listed, and refused by name.
//
// The engines read the files themselves: the catalog says where they are, and
// hands out no key to the bucket.
package catalog
