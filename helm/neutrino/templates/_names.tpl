{{/* Names and labels. Most take (dict "root" $ "component" "api"). */}}

{{- define "neutrino.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 32 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 32 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "neutrino.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 32 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
neutrino.dev/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "neutrino.labels" -}}
{{ include "neutrino.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: neutrino
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "neutrino.image" -}}
{{- $image := .image -}}
{{- $name := ternary (printf "%s/%s" .root.Values.images.registry $image.repository) $image.repository (and (not (empty .root.Values.images.registry)) (not .foreign)) -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}{{- else -}}{{ $name }}:{{ default .root.Chart.AppVersion $image.tag }}{{- end -}}
{{- end -}}

{{- define "neutrino.authSecret" -}}{{ default (printf "%s-auth" (include "neutrino.fullname" .)) .Values.auth.existingSecret }}{{- end -}}
{{- define "neutrino.postgresSecret" -}}{{ default (printf "%s-postgres" (include "neutrino.fullname" .)) .Values.postgres.existingSecret }}{{- end -}}
{{- define "neutrino.redisSecret" -}}{{ default (printf "%s-redis" (include "neutrino.fullname" .)) .Values.redis.existingSecret }}{{- end -}}
{{- define "neutrino.storeClaim" -}}{{ default (printf "%s-store" (include "neutrino.fullname" .)) .Values.store.volume.existingClaim }}{{- end -}}
{{- define "neutrino.storeUri" -}}{{ default "file:///var/lib/neutrino/store" .Values.store.uri }}{{- end -}}
{{- define "neutrino.apiUrl" -}}http://{{ include "neutrino.fullname" . }}-api.{{ .Release.Namespace }}.svc:{{ .Values.api.service.port }}{{- end -}}
{{- define "neutrino.jobsNamespace" -}}{{ default .Release.Namespace .Values.jobs.namespace }}{{- end -}}

{{/* "true" when artifacts lie on a volume that only one node can mount: everything that touches it runs on that node. */}}
{{- define "neutrino.oneNode" -}}
{{- if and (not .Values.store.uri) (ne .Values.store.volume.accessMode "ReadWriteMany") -}}true{{- end -}}
{{- end -}}

{{/* The pools with their defaults, as JSON: {name: pool}. */}}
{{- define "neutrino.pools" -}}
{{- $pools := dict -}}
{{- range $name, $pool := .Values.pools -}}
{{- $_ := set $pools $name (mustMergeOverwrite (deepCopy (get $.Values.poolDefaults $pool.kind)) $pool) -}}
{{- end -}}
{{ $pools | toJson }}
{{- end -}}

{{/* What the database is to know of other clusters: a JSON list of `POST /v1/clusters`. */}}
{{- define "neutrino.clusterRows" -}}
{{- $rows := list -}}
{{- range $name, $cluster := .Values.clusters -}}
{{- $row := mustMergeOverwrite (dict "name" $name) (omit $cluster "existingSecret") -}}
{{- if $cluster.existingSecret }}{{ $_ := set $row "kubeconfig" (printf "/etc/neutrino/clusters/%s/kubeconfig" $name) }}{{ end -}}
{{- $rows = append $rows $row -}}
{{- end -}}
{{ $rows | toJson }}
{{- end -}}

{{/* What the database is to know of the pools: a JSON list of `POST /v1/pools`. */}}
{{- define "neutrino.poolRows" -}}
{{- $rows := list -}}
{{- range $name, $pool := include "neutrino.pools" . | fromJson -}}
{{- $cloud := default "local" $pool.cloud -}}
{{- $row := dict "name" $name "cloud" $cloud "region" (default "local" $pool.region) "store" (default (include "neutrino.storeUri" $) $pool.store) -}}
{{- with $pool.gpu }}{{ $_ := set $row "gpu" . }}{{ end -}}
{{- with $pool.usdPerHour }}{{ $_ := set $row "usdPerHour" . }}{{ end -}}
{{- if $pool.spot }}{{ $_ := set $row "spot" true }}{{ end -}}
{{- if eq $pool.kind "pods" -}}
{{- $pods := dict "preset" (include "neutrino.preset" $pool) -}}
{{- with $.Values.images.pullSecrets }}{{ $_ := set $pods "imagePullSecrets" . }}{{ end -}}
{{- $labels := dict -}}
{{- if $.Values.identity.azure.clientId }}{{ $_ := set $labels "azure.workload.identity/use" "true" }}{{ end -}}
{{- if eq (default "in-cluster" $pool.cluster) "in-cluster" -}}
{{- with $.Values.store.existingSecret }}{{ $_ := set $pods "storeSecret" . }}{{ end -}}
{{- if not $.Values.store.uri }}{{ $_ := set $pods "storeClaim" (include "neutrino.storeClaim" $) }}{{ end -}}
{{- if include "neutrino.oneNode" $ -}}
{{- $_ := set $labels "neutrino.dev/store" (include "neutrino.fullname" $) -}}
{{- $_ := set $pods "beside" (dict "neutrino.dev/store" (include "neutrino.fullname" $)) -}}
{{- end -}}
{{- end -}}
{{- with $labels }}{{ $_ := set $pods "labels" . }}{{ end -}}
{{- $pods = mustMergeOverwrite $pods (default dict $pool.pods) -}}
{{- $row = mustMergeOverwrite $row (dict "cluster" (default "in-cluster" $pool.cluster) "pods" $pods) -}}
{{- end -}}
{{- $rows = append $rows $row -}}
{{- end -}}
{{ $rows | toJson }}
{{- end -}}
