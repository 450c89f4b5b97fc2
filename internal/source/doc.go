// Package source is where base images come from: the local store, a registry,
// or an OCI layout. Finding one reads no more than its manifest and config,
// whose word is not taken for anything. What else a build reads is next door:
// directories in local, files of the web in web, repositories in git.
package source
