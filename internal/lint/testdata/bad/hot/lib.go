package hot

import _ "github.com/minio/minio-go/v7"
