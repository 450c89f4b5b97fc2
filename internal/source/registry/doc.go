// Package registry speaks to image registries (the OCI distribution protocol):
// manifests, blobs read with resumption, blobs and manifests pushed.
//
// Authentication is go-containerregistry's. What is ours: which hosts may be
// spoken to in the clear, to whom a credential may be shown, mirrors, counting,
// retries, and downloads that survive a cut connection.
//
// Begin with [Registries] and its Repository method.
package registry
