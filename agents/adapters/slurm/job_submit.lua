-- job_submit.lua of gcn-env: tags a job and delays it; the policy is asked outside, by `python -m agents slurm`.
--
-- A job that names no partition of its own may start by itself in any partition that suits it, `grace` seconds after it
-- could have started; before that, the controller may place it. So a controller or a policy that is down, slow or wrong
-- costs a job `grace` seconds at most. With `hold` a job waits until the controller releases it, however long that takes.
--
-- slurmctld runs this under its locks, one submission at a time: no files, no sockets, no commands in here.

-- settings; `python -m agents slurm SITE.yaml --lua` prints this file with those of a site
local intake = "intake" -- where jobs without a partition arrive; its State is DOWN
local grace = 60 -- s
local hold = false
local default = { -- of jobs that ask for GPUs, and of others: where they may run, and how far they trust
   gpu = { jurisdictions = "any", trust = "public" },
   cpu = { jurisdictions = "any", trust = "public" },
}
local partitions = {
   { name = "north-gpu", device = "gpu", jurisdiction = "eu", trust = "public" },
   { name = "north-cpu", device = "cpu", jurisdiction = "eu", trust = "public" },
   { name = "south-gpu", device = "gpu", jurisdiction = "sg", trust = "public" },
}
-- end of settings

local rank = { public = 0, private = 1, tee = 2 }

local function device_of(job)
   for _, asked in ipairs({ "tres_per_node", "tres_per_job", "tres_per_task", "tres_per_socket" }) do
      if string.find(job[asked] or "", "gpu", 1, true) then return "gpu" end
   end
   return "cpu"
end

local function suits(partition, device, jurisdictions, trust)
   if partition.device ~= device or rank[partition.trust] < rank[trust] then return false end
   return jurisdictions == "any"
      or string.find("," .. jurisdictions .. ",", "," .. partition.jurisdiction .. ",", 1, true) ~= nil
end

function slurm_job_submit(job, _, _)
   if job.partition ~= nil and job.partition ~= intake then return slurm.SUCCESS end -- the user chose
   local device, comment = device_of(job), job.comment or ""
   local usual = default[device] or { jurisdictions = "any", trust = "public" }
   local jurisdictions = string.match(comment, "gcn%.jurisdictions=(%S+)") or usual.jurisdictions
   local trust = string.match(comment, "gcn%.trust=(%S+)") or usual.trust
   local names = {}
   for _, partition in ipairs(partitions) do
      if rank[trust] and suits(partition, device, jurisdictions, trust) then table.insert(names, partition.name) end
   end
   if #names == 0 then -- refused at the door rather than waiting for ever
      slurm.log_user("no partition for a %s job with gcn.jurisdictions=%s gcn.trust=%s", device, jurisdictions, trust)
      return slurm.ERROR
   end
   local list, start = table.concat(names, ","), os.time()
   if job.begin_time ~= nil and job.begin_time > start and job.begin_time < 4294967290 then start = job.begin_time end
   if hold and job.priority ~= 0 then -- a job that its user holds already takes the other way
      job.partition = intake
      job.priority = 0
      job.begin_time = start
   else
      job.partition = list
      job.begin_time = start + grace
   end
   local before = job.admin_comment and job.admin_comment .. " " or ""
   job.admin_comment = string.format("%sgcn:start=%d gcn:in=%s", before, start, list)
   return slurm.SUCCESS
end

function slurm_job_modify(_, _, _, _)
   return slurm.SUCCESS
end

return slurm.SUCCESS
