# What a sales team does in a Redmine, by Redmine's own models: tests/redmine.rs runs it in two steps. On a database with Redmine's default data the numbers of trackers,
# statuses and custom fields come out as schemas/presets/redmine.toml has them.

User.current = User.find(1)

FIELDS = {
  'Amount' => 'float', 'Currency' => 'string', 'Lead source' => 'string', 'Product' => 'string', 'Account' => 'string', 'Expected close' => 'date', 'Lost reason' => 'string'
}.freeze

def status(name)
  IssueStatus.find_by!(name: name)
end

def field(name)
  IssueCustomField.find_by!(name: name)
end

def rep(login)
  User.find_by_login(login)
end

# Changes an issue as a form does: read anew, with an entry in its journal.
def change(subject)
  issue = Issue.find_by!(subject: subject)
  issue.init_journal(User.current)
  yield issue
  issue.save!
end

def set(issue, values)
  issue.custom_field_values = values.to_h { |name, value| [field(name).id.to_s, value] }
end

def open_issue(subject, tracker, login, values)
  issue = Issue.new(project: Project.find('sales'), tracker: Tracker.find_by!(name: tracker), subject: subject, author: User.current, assigned_to: rep(login),
                    status: status('New'), priority: IssuePriority.first)
  set(issue, values)
  issue.save!
end

def deal(subject, login, amount, currency, outcome)
  open_issue(subject, 'Deal', login, 'Amount' => amount, 'Currency' => currency, 'Product' => 'Basic', 'Account' => "A-#{login}", 'Lead source' => 'web')
  change(subject) { |issue| issue.status = status('Qualified') }
  return if outcome == 'open'

  change(subject) do |issue|
    issue.status = status(outcome)
    set(issue, 'Lost reason' => 'price') if outcome == 'Lost'
  end
end

def lead(subject, login)
  open_issue(subject, 'Lead', login, 'Lead source' => 'event')
end

def prepare
  %w[Qualified Proposal].each { |name| IssueStatus.create!(name: name) }
  %w[Won Lost].each { |name| IssueStatus.create!(name: name, is_closed: true) }
  trackers = %w[Deal Lead].map { |name| Tracker.create!(name: name, default_status: status('New')) }
  project = Project.create!(name: 'Sales', identifier: 'sales', trackers: Tracker.all.to_a)
  FIELDS.each { |name, format| IssueCustomField.create!(name: name, field_format: format, is_for_all: true, trackers: trackers) }
  # Everybody may do everything.
  IssueStatus.all.to_a.permutation(2) do |from, to|
    trackers.each { |tracker| Role.all.each { |role| WorkflowTransition.create!(role: role, tracker: tracker, old_status: from, new_status: to) } }
  end
  %w[ana ben cem].each do |login|
    user = User.new(firstname: login.capitalize, lastname: 'Rep', mail: "#{login}@example.test")
    user.login = login
    user.password = 'only for a test'
    user.save!
    Member.create!(project: project, principal: user, roles: [Role.givable.first])
  end
end

case ENV.fetch('STEP')
when 'before'
  prepare
  deal 'Harbour cranes', 'ana', '1200.5', 'EUR', 'Won'
  deal 'Office chairs', 'ben', '800', 'USD', 'Lost'
  deal 'Forklifts', 'cem', '15000', 'EUR', 'open'
  deal 'Bakery ovens', 'ana', '2500.25', 'USD', 'Won'
  deal 'Printers', 'ben', '400', 'EUR', 'Won'
  lead 'Trade fair', 'ana'
  lead 'Web form', 'ben'
when 'meanwhile'
  deal 'Servers', 'cem', '9000', 'USD', 'Won'
  deal 'Lamps', 'ana', '60.1', 'EUR', 'Lost'
  deal 'Solar roof', 'ben', '30000', 'EUR', 'open'
  # Opened again; the date of the close stays.
  change('Harbour cranes') { |issue| issue.status = status('Proposal') }
  change('Bakery ovens') { |issue| set(issue, 'Amount' => '3000.75') }
  change('Servers') { |issue| issue.assigned_to = rep('ana') }
  Issue.find_by!(subject: 'Printers').destroy
  # A lead becomes a deal, and is won.
  change('Web form') do |issue|
    issue.tracker = Tracker.find_by!(name: 'Deal')
    issue.status = status('Won')
    set(issue, 'Amount' => '111.11', 'Currency' => 'EUR')
  end
  # One value alone goes: its issue stays as it is.
  CustomValue.where(customized_id: Issue.find_by!(subject: 'Forklifts').id, custom_field: field('Amount')).destroy_all
  # Long enough to be kept outside of its row, so that the next change does not say it.
  change('Solar roof') { |issue| issue.description = 'sun ' * 5000 }
  change('Solar roof') { |issue| issue.subject = 'Solar roofs' }
  status('Qualified').update!(name: 'Looked at')
end
